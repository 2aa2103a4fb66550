"""Checkpoints that others wrote, in whatever they wrapped them: read without running any code of theirs.

A file may be torch's, of either format, or safetensors. Which of its parts are meant is told by the
network that they are for: any mapping inside, below any prefix, that has all of the network's names.

Nothing is unpickled but by torch's restricted unpickler, which knows tensors and plain containers. What
stands beside the weights (options, numpy numbers, paths) is taken for inert stand-ins: no class of
theirs is ever called. Anything else that a file asks for has it refused.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models.weights import CheckpointError, Misfit, compare, load_weights, summary

State = dict[str, Tensor]

# Counters that torch 0.4.1 added: networks saved before lack them, and only training reads them.
_COUNTER = "num_batches_tracked"
# What averaging and profiling put among the weights.
_BOOKKEEPING = ("n_averaged", "total_ops", "total_params")
# Copies of the weights that training keeps besides; where both fit, the trained ones are meant.
_AVERAGES = re.compile(r"(^|[._-])(ema|swa|avg|averaged?|shadow|teacher)([._-]|$)", re.IGNORECASE)
_DEEPEST, _SHOWN = 5, 8

# What stands beside weights, by the names that pickles have for it.
_NUMPY = ("multiarray.scalar", "multiarray._reconstruct", "numeric._frombuffer")
_PATHS = ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
_BESIDE = (
    *("argparse.Namespace", "types.SimpleNamespace"),
    *("datetime.datetime", "datetime.date", "datetime.timedelta"),
    *("numpy.dtype", "numpy.ndarray", "numpy.float32", "numpy.float64", "numpy.int64"),
    *(f"numpy.{core}.{name}" for core in ("core", "_core") for name in _NUMPY),
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
)


class Inert:
    """Stands for a value beside the weights: takes whatever it is made of, and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> "Inert":
        """Make one, of anything."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


@dataclass(frozen=True)
class Foreign:
    """Weights that were found in a file, by the network's own names.

    `key` says where in the file they lie ("" at its top); `notes` what was chosen, added or left out,
    for the user to read.
    """

    state: State
    key: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """A mapping of tensors inside a file, seen below a prefix of its names."""

    trail: tuple[str, ...]
    prefix: str
    state: State
    outside: tuple[str, ...]
    dropped: tuple[str, ...]
    misfit: Misfit

    @property
    def key(self) -> str:
        return ".".join([*self.trail, *filter(None, [self.prefix.rstrip(".")])])


def read_foreign(
    path: Path, network: nn.Module, *, name: str | None = None, key: str | None = None
) -> Foreign:
    """A network's weights out of a file that somebody else wrote; tensors on the CPU.

    Args:
        network: whose weights are looked for; it stays as it is.
        name: the network's, for messages.
        key: which weights are meant where a file holds several: the names of the mappings that they
            lie in, and the prefix of their own, joined with dots. None: the first that are no average.

    Raises `CheckpointError` where the file is absent, none that holds weights, damaged, asks for more
    than data, or holds no weights of the network (counted against those that come nearest).
    """
    content = read_content(path)
    expected: State = network.state_dict()
    mappings = list(_mappings(content))
    candidates = [c for trail, state in mappings for c in _candidates(trail, state, expected)]
    if key is not None:
        candidates = [c for c in candidates if f"{c.key}.".startswith(f"{key}.")]
        if not candidates:
            raise CheckpointError(f"{path}: holds no weights under {key!r}; {_contents(content)}")
    fitting = [candidate for candidate in candidates if not candidate.misfit.count]
    if not fitting:
        raise CheckpointError(_no_fit(path, name or type(network).__name__, candidates, content))
    chosen = min(fitting, key=lambda c: bool(_AVERAGES.search(c.key)))  # the first of these
    # As torch's own loading does, which counts from 0 where a file has no counters.
    state = {name: chosen.state.get(name, torch.zeros_like(t)) for name, t in expected.items()}
    return Foreign(state, chosen.key, tuple(_notes(chosen, fitting)))


def _no_fit(path: Path, name: str, candidates: list[_Candidate], content: Any) -> str:
    if not candidates:
        return f"{path}: holds no weights; {_contents(content)}"
    nearest = max(candidates, key=lambda c: (len(c.state) - len(c.misfit.unexpected), len(c.state)))
    where = f" under {nearest.key}" if nearest.key else ""
    what = f"{path}: the {len(nearest.state)} weights{where} do not fit {name}"
    return f"{what}: {nearest.misfit}"


def _notes(chosen: _Candidate, fitting: list[_Candidate]) -> Iterator[str]:
    if chosen.key:
        yield f"took the weights under {chosen.key}"
    others = [c.key or "the top" for c in fitting if c is not chosen and not _same(c, chosen)]
    if others:
        yield f"left others that fit, under {', '.join(others[:_SHOWN])} (--key takes them)"
    for names, what in ((chosen.dropped, "counters"), (chosen.outside, "others")):
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            yield f"left out {len(names)} {what} that are none of the network's ({shown})"


def _same(first: _Candidate, second: _Candidate) -> bool:
    return all(torch.equal(tensor, second.state[name]) for name, tensor in first.state.items())


def _mappings(content: Any, trail: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], State]]:
    """Every mapping inside a file that holds tensors, with the names that lead to it."""
    if isinstance(content, list | tuple) and not isinstance(content, torch.Size):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping) or len(trail) > _DEEPEST:
        return
    weights = {name: value.detach() for name, value in content.items() if _is_weight(name, value)}
    if weights:
        yield trail, weights
    for name, value in content.items():
        yield from _mappings(value, (*trail, str(name)))


def _is_weight(name: Any, value: Any) -> bool:
    is_dense = isinstance(value, Tensor) and value.layout == torch.strided
    if not isinstance(name, str) or not is_dense:
        return False
    return value.device.type == "cpu" and not value.is_quantized  # "meta" holds no numbers


def _candidates(trail: tuple[str, ...], state: State, expected: State) -> Iterator[_Candidate]:
    """A mapping below each prefix that may be meant."""
    for prefix in _prefixes(state, expected):
        inside = {
            name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)
        }
        dropped = [
            name
            for name in inside
            if name not in expected and name.rpartition(".")[2] in _BOOKKEEPING
        ]
        kept = {name: tensor for name, tensor in inside.items() if name not in dropped}
        outside = tuple(name for name in state if not name.startswith(prefix))
        needed = {n: t for n, t in expected.items() if n in kept or not n.endswith(_COUNTER)}
        misfit = compare(kept, needed)
        yield _Candidate(trail, prefix, kept, outside, tuple(dropped), misfit)


def _prefixes(state: State, expected: State) -> list[str]:
    """Prefixes below which a mapping has one of the network's longest names, or any name at all."""
    anchor = max((name for name in expected if not name.endswith(_COUNTER)), key=_depth)
    found = [name.removesuffix(anchor) for name in state if f".{name}".endswith(f".{anchor}")]
    if not found:  # another network's: the prefix that all names share, for the message
        parts = [name.split(".")[:-1] for name in state if "." in name]
        shared = takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))
        found = ["", "".join(f"{level[0]}." for level in shared)]
    return list(dict.fromkeys(found))


def _depth(name: str) -> tuple[int, int]:
    return name.count("."), len(name)


def _contents(content: Any) -> str:
    """What a file holds instead of weights, in words."""
    if not isinstance(content, Mapping):
        return f"it holds a {type(content).__name__}"
    names = [f"{name} ({_kind(value)})" for name, value in content.items()]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it holds {', '.join(names[:_SHOWN]) or 'nothing'}{more}"


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{len(value)} entries"
    return "no tensor" if isinstance(value, Inert) else type(value).__name__


# --- files ----------------------------------------------------------------------------------------


def read_content(path: Path) -> Any:
    """What a torch or safetensors file holds, tensors on the CPU; no code in it is run.

    Raises `CheckpointError` as `read_foreign` does.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
        if head[5:9] == b"\0\0\0{":  # a header's length in 8 bytes, then the header
            return load_weights(path)
        if problem := _no_checkpoint(path, head):
            raise CheckpointError(f"{path}: {problem}")
        # An open file, since torch looks at a path's suffix and takes some for other formats.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle protocol that torch does not write
            with torch.serialization.safe_globals([(Inert, name) for name in _BESIDE]):
                return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        # torch's own message is not passed on: it recommends loading the file without protection.
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it asks for {asked[1]}" if asked else "it is damaged or holds more than weights"
        raise CheckpointError(
            f"{path}: refused, for {what}, and no code of a file is run; save the network's "
            "state_dict() alone with torch.save"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file fails inside torch in many ways
        raise CheckpointError(
            f"{path}: damaged, or not a torch checkpoint ({summary(error)})"
        ) from error


_STARTS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file that it stands for: run `git lfs pull` "
    "in its repository, or download the file itself",
    b"/annex/objects": "a git-annex pointer, not the file that it stands for: run `git annex get`",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"BZh": "compressed with bzip2: unpack it first",
    b"\xfd7zXZ": "compressed with xz: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a rar archive: unpack it first",
    b"\x89HDF": "an HDF5 file, such as Keras writes, not a torch checkpoint",
    b"\x93NUMPY": "a numpy array, not a torch checkpoint",
}
_DOWNLOAD = "download the file itself, by its raw link"


def _no_checkpoint(path: Path, head: bytes) -> str | None:
    """Why a file can be no checkpoint, by how it begins; None where it may be one."""
    if not head:
        return f"the file is empty: was its download cut short? {_DOWNLOAD.capitalize()}"
    for start, what in _STARTS.items():
        if head.startswith(start):
            return what
    if head.startswith(b"PK"):
        return _no_archive(path)
    text = head.decode("utf-8-sig", errors="replace").strip()
    if re.match(r"<[!?a-zA-Z]", text):
        return f"a web page, not a checkpoint: {_DOWNLOAD}"
    if "\ufffd" not in text[:-1] and "".join(text.split()).isprintable():
        return f"a text file ({text[:60].splitlines()[:1]}), not a checkpoint: {_DOWNLOAD}"
    return None


def _no_archive(path: Path) -> str | None:
    """Why a zip file is no checkpoint of torch's."""
    if not zipfile.is_zipfile(path):
        return "damaged: its end is missing; was its download cut short? Download it again"
    with zipfile.ZipFile(path) as archive:
        # torch packs without compression: a small file could not unpack to gigabytes otherwise.
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            return "damaged, or not a torch checkpoint (compressed, as torch compresses none)"
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        return "a TorchScript program, not weights: save the network's state_dict() with torch.save"
    if not any(name.endswith("data.pkl") for name in names):
        return f"a zip archive of other files ({', '.join(names[:3])}): unpack it first"
    return None
