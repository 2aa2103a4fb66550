"""Read checkpoints from elsewhere, however they are wrapped, without running any code in them.

A file may be torch's, in either format, or safetensors. The weights in it are found by the network that
they are for: any mapping, below any prefix, that has all of the network's names.

Files are unpickled by torch's restricted unpickler only, which knows tensors and containers. Objects beside
the weights (options, numpy numbers, paths) are replaced by `Inert` ones: none of their classes is ever
called. A file that asks for any other class is refused.
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

from pipeline.models.weights import CheckpointError, Misfit, compare, first_few, summary
from pipeline.models.weights import load_weights as load_safetensors

State = dict[str, Tensor]

# Counters since torch 0.4.1: older checkpoints lack them, and only training reads them.
_COUNTER = "num_batches_tracked"
# Entries that averaging and profiling tools add to the weights.
_BOOKKEEPING = ("n_averaged", "total_ops", "total_params")
# Averaged copies of the weights; if both fit, the trained weights are meant.
_AVERAGES = re.compile(r"(^|[._-])(ema|swa|avg|averaged?|shadow|teacher)([._-]|$)", re.IGNORECASE)
_DEEPEST, _SHOWN = 5, 8

# Classes of objects beside the weights, by their names in pickles.
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
    """Replaces an object beside the weights: accepts any arguments and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> "Inert":
        """Accept any arguments."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


@dataclass(frozen=True)
class Foreign:
    """Weights from a file, by the network's own names.

    `key` is their place in the file ("" at the top); `notes` tell the user what was chosen or left out.
    """

    state: State
    key: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """The tensors of a mapping in a file whose names begin with a prefix, which is removed from them."""

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
    """Read a network's weights from a file that others wrote; tensors on the CPU.

    Args:
        network: the network that the weights are for; it is not changed.
        name: the network's name, for messages.
        key: selects weights if the file holds several sets: the names of the mappings around them and the
            prefix of their own names, joined with dots. None: the first set that is not an average.

    Raises `CheckpointError` if the file is missing, damaged, not a checkpoint, asks for code, or holds no
    weights of the network (the message describes the set that comes nearest).
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
    chosen = min(fitting, key=lambda candidate: bool(_AVERAGES.search(candidate.key)))
    # Missing counters are 0, as in torch's own loading.
    state = {name: chosen.state.get(name, torch.zeros_like(t)) for name, t in expected.items()}
    return Foreign(state, chosen.key, tuple(_notes(chosen, fitting)))


def _no_fit(path: Path, name: str, candidates: list[_Candidate], content: Any) -> str:
    if not candidates:
        return f"{path}: holds no weights; {_contents(content)}"
    nearest = max(candidates, key=lambda c: (len(c.state) - len(c.misfit.unexpected), len(c.state)))
    where = f" under {nearest.key}" if nearest.key else ""
    return f"{path}: the {len(nearest.state)} weights{where} do not fit {name}: {nearest.misfit}"


def _notes(chosen: _Candidate, fitting: list[_Candidate]) -> Iterator[str]:
    if chosen.key:
        yield f"used the weights under {chosen.key}"
    others = [c.key or "the top" for c in fitting if c is not chosen and not _same(c, chosen)]
    if others:
        yield f"others fit too, under {', '.join(others[:_SHOWN])} (choose them with --key)"
    for names, entries in ((chosen.dropped, "counters"), (chosen.outside, "others")):
        if names:
            yield f"left out {len(names)} {entries} that the network does not have ({first_few(names, 3)})"


def _same(first: _Candidate, second: _Candidate) -> bool:
    return all(torch.equal(tensor, second.state[name]) for name, tensor in first.state.items())


def _mappings(
    content: Any, trail: tuple[str, ...] = (), seen: dict[int, int] | None = None
) -> Iterator[tuple[tuple[str, ...], State]]:
    """Every mapping in a file that holds tensors, with the names that lead to it.

    Args:
        seen: how far down each container was looked into: a file may hold one many times, or in itself.
    """
    seen = {} if seen is None else seen
    inside = content
    if isinstance(content, list | tuple) and not isinstance(content, torch.Size):
        inside = dict(enumerate(content))
    if not isinstance(inside, Mapping):
        return
    weights = {name: value.detach() for name, value in inside.items() if _is_weight(name, value)}
    if weights:
        yield trail, weights
    if len(trail) < seen.get(id(content), _DEEPEST):
        seen[id(content)] = len(trail)
        for name, value in inside.items():
            yield from _mappings(value, (*trail, str(name)), seen)


def _is_weight(name: Any, value: Any) -> bool:
    is_dense = isinstance(value, Tensor) and value.layout == torch.strided
    if not isinstance(name, str) or not is_dense:
        return False
    # Tensors on the device "meta" hold no numbers.
    return value.device.type == "cpu" and not value.is_quantized


def _candidates(trail: tuple[str, ...], state: State, expected: State) -> Iterator[_Candidate]:
    """The candidates in a mapping: one for each prefix that may be the right one."""
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
    """Prefixes below which a mapping has the network's longest name; if none, those for the message."""
    names = [name for name in expected if not name.endswith(_COUNTER)]
    anchor = max(names, key=lambda name: (name.count("."), len(name)))
    prefixes = [name.removesuffix(anchor) for name in state if f".{name}".endswith(f".{anchor}")]
    if not prefixes:  # another network's weights: no prefix, and the prefix that all names share
        parts = [name.split(".")[:-1] for name in state if "." in name]
        shared = takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))
        prefixes = ["", "".join(f"{level[0]}." for level in shared)]
    return list(dict.fromkeys(prefixes))


def _contents(content: Any) -> str:
    """What a file holds instead of weights, in words."""
    if not isinstance(content, Mapping):
        return f"it holds a {type(content).__name__}"
    names = [f"{name} ({_describe(value)})" for name, value in content.items()]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it holds {', '.join(names[:_SHOWN]) or 'nothing'}{more}"


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{len(value)} entries"
    return "no tensor" if isinstance(value, Inert) else type(value).__name__


def read_content(path: Path) -> Any:
    """The content of a torch or safetensors file, tensors on the CPU; no code in it is run.

    Raises `CheckpointError` as `read_foreign` does.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
        if head[5:9] == b"\0\0\0{":  # safetensors: the header's length in 8 bytes, then the header
            return load_safetensors(path)
        if problem := _not_a_checkpoint(path, head):
            raise CheckpointError(f"{path}: {problem}")
        # Pass an open file, because torch guesses the format of a path from its suffix.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols that torch does not write
            with torch.serialization.safe_globals([(Inert, name) for name in _BESIDE]):
                return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        # torch's own message is not shown: it recommends loading the file without protection.
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = (
            f"it asks for {wanted[1]}" if wanted else "it is damaged or holds more than weights"
        )
        raise CheckpointError(
            f"{path}: refused, because {reason}, and code in a file is never run; save only the network's "
            "state_dict() with torch.save"
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


def _not_a_checkpoint(path: Path, head: bytes) -> str | None:
    """Why a file with this beginning cannot be a checkpoint; None if it may be one.

    >>> _not_a_checkpoint(Path("x.pth"), b"<html>")
    'a web page, not a checkpoint: download the file itself, by its raw link'
    """
    if not head:
        return f"the file is empty: was its download cut short? {_DOWNLOAD.capitalize()}"
    for start, description in _STARTS.items():
        if head.startswith(start):
            return description
    if head.startswith(b"PK"):
        return _not_an_archive(path)
    text = head.decode("utf-8-sig", errors="replace").strip()
    if re.match(r"<[!?a-zA-Z]", text):
        return f"a web page, not a checkpoint: {_DOWNLOAD}"
    if "\ufffd" not in text[:-1] and "".join(text.split()).isprintable():
        return f"a text file ({text[:60].splitlines()[:1]}), not a checkpoint: {_DOWNLOAD}"
    return None


def _not_an_archive(path: Path) -> str | None:
    """Why a zip file is not a torch checkpoint; None if it may be one."""
    if not zipfile.is_zipfile(path):
        return "damaged: its end is missing; was its download cut short? Download it again"
    with zipfile.ZipFile(path) as archive:
        # torch never compresses. Refusing compression keeps a small file from unpacking to gigabytes.
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            return "damaged, or not a torch checkpoint (it is compressed; torch does not compress)"
        # Nor does it store one record under many names: torch would read it as often into memory.
        if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
            return "damaged, or not a torch checkpoint (its records are larger than the file)"
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        return "a TorchScript program, not weights: save the network's state_dict() with torch.save"
    if not any(name.endswith("data.pkl") for name in names):
        return f"a zip archive of other files ({', '.join(names[:3])}): unpack it first"
    return None
