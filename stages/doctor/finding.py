"""What the doctor finds: a line each, with what to do about it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.core.errors import is_mistake

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        topic: what, in a word or two.
        level: whether it is well, could be better, or has to be mended before anything works.
        text: what was found.
        advice: what to do; empty where all is well.
    """

    topic: str
    level: Level
    text: str
    advice: str = ""


Check = Callable[[], Iterator[Finding]]


def examined(topic: str, check: Check) -> list[Finding]:
    """The findings of a check; what it fails at is a finding, too."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:
        if not (is_mistake(error) or isinstance(error, ImportError | RuntimeError)):
            raise
        text = str(error) or type(error).__name__
        found.append(Finding(topic, "problem", text, "mend that, then run this again"))
    return found
