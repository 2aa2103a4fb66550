"""A training whose loss or weights stop being numbers: what is kept of it, and the likely cause in words.

The file holds the step that went wrong, as it was before it began: `network.*` and `momentum.*`;
`batch.*`: rows i8 [B] (images, by their place in the training set), images f4 [B, 3, H, W] (the views as
the network sees them), targets f4 [B, C], teacher_logits, teacher_features and, of the tables of views,
places (see `pipeline.views.batches`) and weights; `student.logits` f4 [B, C], `student.features` f4 [B, D],
and `loss` f4 []. Its metadata say epoch, step, learning rate and what happened.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.core.errors import DecantError
from pipeline.results.tensors import save_tensors

FILE = "non-finite.safetensors"
# Above, logits of any network that learns are long past: of what a float16 can hold, a tenth.
HUGE_LOGIT = 6e3


@dataclass(frozen=True)
class BadStep:
    """A step whose loss, or whose weights afterwards, were no numbers.

    Attributes:
        what: that, in words.
        tensors: as the module says; metadata: of the file.
    """

    what: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    def save(self, folder: Path) -> Path:
        """Write the file into a folder and return its path."""
        path = folder / FILE
        save_tensors(dict(self.tensors), path, dict(self.metadata))
        return path

    def cause(self) -> str:
        """What most likely went wrong, and what helps."""
        logits, loss = self.tensors["student.logits"], self.tensors["loss"]
        teacher = self.tensors.get("batch.teacher_logits")
        if not bool(logits.isfinite().all()) or _largest(logits) > HUGE_LOGIT:
            return (
                f"the network's own logits were {_size(logits)} before the loss saw them: training has "
                "diverged; lower training.learning_rate"
            )
        seen = "" if teacher is None else f", the teacher's are {_size(teacher)}"
        seen = f"the network's logits are {_size(logits)}{seen}{_equal_rows(logits, teacher)}"
        if not bool(loss.isfinite()):
            return (
                f"{seen}: the loss itself makes no number of them. In a loss of your own look for a "
                "division by zero, a logarithm or a root of zero; a lower learning rate cannot help"
            )
        return (
            f"{seen}, and the loss is {float(loss):.4g}: its gradient, or the step along it, is none. In "
            "a loss of your own look for a root or a norm of zero; else lower training.learning_rate"
        )


class NonFiniteLossError(DecantError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""

    def __init__(self, where: str, bad_step: BadStep | None = None) -> None:
        super().__init__(where)
        self.bad_step = bad_step

    def explained(self, folder: Path | None) -> "NonFiniteLossError":
        """The same with the likely cause, and with the step kept in a folder (None: nowhere)."""
        if self.bad_step is None:
            return self
        text = f"{self}; likely because {self.bad_step.cause()}. The last good checkpoint is kept"
        if folder is not None:
            path = self.bad_step.save(folder)
            text += (
                f", and in {path} the batch, its views and the network as they were before that step: "
                f"{how_to_open(path)}"
            )
        return NonFiniteLossError(text, self.bad_step)


def how_to_open(path: Path) -> str:
    """Code that loads a file that was kept."""
    return f"from safetensors.torch import load_file; load_file({str(path)!r})"


def _largest(values: Tensor) -> float:
    return float(values.abs().max())


def _size(values: Tensor) -> str:
    finite = values.isfinite()
    if not bool(finite.all()):
        return f"not finite in {int((~finite).sum())} of {values.numel()} places"
    return f"at most {_largest(values):.4g}"


def _equal_rows(student: Tensor, teacher: Tensor | None) -> str:
    texts = []
    for name, logits in (("network", student), ("teacher", teacher)):
        if logits is not None:
            count = int((logits.amax(dim=1) == logits.amin(dim=1)).sum())
            if count:
                texts.append(f"; {count} of {len(logits)} rows of the {name}'s are constant")
    return "".join(texts)


def copies(prefix: str, tensors: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Copies on the host of those that are there, under names with a prefix."""
    return {
        f"{prefix}{name}": torch.clone(value.detach()).cpu().contiguous()
        for name, value in tensors.items()
        if value is not None
    }
