"""What a training run leaves of each of its epochs."""

import dataclasses
import math
from dataclasses import dataclass, field


@dataclass
class Curves:
    """What happened in each finished epoch; unevaluated epochs hold NaN."""

    learning_rate: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    test_top1_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)

    def to_csv(self) -> str:
        """One line an epoch: epoch, learning rate, losses (nats) and accuracy (fraction)."""
        names = [f.name for f in dataclasses.fields(self)]
        lines = [",".join(["epoch", *names])]
        for epoch, row in enumerate(zip(*(getattr(self, name) for name in names), strict=True)):
            cells = ["" if math.isnan(value) else f"{value:.7g}" for value in row]
            lines.append(",".join([str(epoch + 1), *cells]))
        return "\n".join(lines) + "\n"
