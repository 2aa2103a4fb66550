"""A loss or weights that become NaN or infinite: the file that is kept, and the likely cause in words.

The file holds the state just before the step that failed, as tensors:

- `network.*` and `momentum.*`: weights, statistics and momentum;
- `batch.*`: rows i8 [B] (indices into the training set), images f4 [B, 3, H, W] (normalised views), targets
  f4 [B, C], teacher_logits, teacher_features, and the tables of `ViewBatches.stage`: places, labels, weights;
- `student.logits` f4 [B, C], `student.features` f4 [B, D], `loss` f4 []: what the step computed.

Its metadata give epoch, step, learning rate, seed, number of ranks and what went wrong. Of several ranks
(`ranks`) it holds the images of the first one's part of the batch, and all else of the whole batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pipeline.core.errors import DecantError
from pipeline.models.weights import cpu_copies
from pipeline.results.tensors import save_tensors

FILE = "non-finite.safetensors"
# A tenth of float16's range. The logits of a network that still learns are far smaller.
HUGE_LOGIT = 6e3


@dataclass(frozen=True)
class BadStep:
    """A step after which the loss or the weights were NaN or infinite; tensors and metadata of its file."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    def save(self, folder: Path) -> Path:
        """Write the file into a folder and return its path."""
        path = folder / FILE
        save_tensors(dict(self.tensors), path, dict(self.metadata))
        return path

    def cause(self) -> str:
        """What most likely went wrong, and what to do about it."""
        logits, loss = self.tensors["student.logits"], self.tensors["loss"]
        teacher = self.tensors.get("batch.teacher_logits")
        if not bool(logits.isfinite().all()) or _largest(logits) > HUGE_LOGIT:
            return (
                f"the network's own logits were {_size(logits)} before the loss was computed: training has "
                "diverged; lower training.learning_rate"
            )
        sizes = f"the network's logits are {_size(logits)}"
        if teacher is not None:
            sizes += f", the teacher's are {_size(teacher)}"
        sizes += _constant_rows(logits, teacher)
        if not bool(loss.isfinite()):
            return (
                f"{sizes}: the loss function itself returned {float(loss)}. In a loss of your own look for "
                "a division by zero, a logarithm or a root of zero; a lower learning rate cannot help"
            )
        return (
            f"{sizes}, and the loss is {float(loss):.4g}: its gradient, or the step along it, is not "
            "finite. In a loss of your own look for a root or a norm of zero; otherwise lower "
            "training.learning_rate"
        )


class NonFiniteLossError(DecantError):
    """The loss or the weights became NaN or infinite; the last good checkpoint is kept."""

    def __init__(self, where: str, bad_step: BadStep | None = None) -> None:
        super().__init__(where)
        self.bad_step = bad_step

    def explained(self, folder: Path | None) -> "NonFiniteLossError":
        """This error with the likely cause; the step is saved in a folder (None: nowhere)."""
        if self.bad_step is None:
            return self
        text = f"{self}; likely because {self.bad_step.cause()}. The last good checkpoint is kept"
        if folder is not None:
            path = self.bad_step.save(folder)
            text += (
                f". {path} holds the network before that step and its batch: {how_to_open(path)}"
            )
        return NonFiniteLossError(text, self.bad_step)


def how_to_open(path: Path) -> str:
    """Python code that loads the file.

    >>> how_to_open(Path("bad.safetensors"))
    "from safetensors.torch import load_file; load_file('bad.safetensors')"
    """
    return f"from safetensors.torch import load_file; load_file({str(path)!r})"


def _largest(values: Tensor) -> float:
    return float(values.abs().max())


def _size(values: Tensor) -> str:
    finite = values.isfinite()
    if not bool(finite.all()):
        return f"not finite in {int((~finite).sum())} of {values.numel()} places"
    return f"at most {_largest(values):.4g}"


def _constant_rows(student: Tensor, teacher: Tensor | None) -> str:
    text = ""
    for name, logits in (("network", student), ("teacher", teacher)):
        count = 0 if logits is None else int((logits.amax(dim=1) == logits.amin(dim=1)).sum())
        if logits is not None and count:
            text += f"; {count} of {len(logits)} rows of the {name}'s are constant"
    return text


def copies(prefix: str, tensors: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Copies on the CPU of all tensors that are not None, with a prefix before their names."""
    there = {f"{prefix}{name}": value for name, value in tensors.items() if value is not None}
    return cpu_copies(there)
