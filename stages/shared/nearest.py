"""The nearest name for one that is mistyped."""

from collections.abc import Iterable

_MOST_NAMES = 12


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that was probably meant; None where none is near."""
    from difflib import get_close_matches  # its import takes as long as a completion may

    return next(iter(get_close_matches(name, list(valid), n=1)), None)


def unknown(kind: str, name: str, valid: Iterable[str]) -> str:
    """What to say of a name that is none: the nearest one, and the valid ones, unless they are many.

    >>> unknown("teacher", "resnet2", ["resnet20", "vgg8"])
    "no teacher 'resnet2'; did you mean resnet20? Valid: resnet20, vgg8"
    """
    names = list(valid)
    near = nearest(name, names)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    listed = ", ".join(names[:_MOST_NAMES]) + more if names else "there is none"
    hint = f"did you mean {near}? Valid" if near else "valid"
    return f"no {kind} {name!r}; {hint}: {listed}"
