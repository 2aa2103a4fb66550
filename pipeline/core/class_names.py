"""Names of classes: which letters they may hold, and finding them by name."""

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches


def composed(name: str) -> str:
    """A name with its accents in one spelling (NFC): editors and file systems differ in it."""
    return unicodedata.normalize("NFC", name)


def class_name_problem(name: str) -> str | None:
    """Why no store takes this name of a class; None where stores take it.

    Letters that cannot be seen make two names look like one, on the screen and in params.yaml.
    """
    if len(name) > 200:
        return "has more than 200 letters"
    for letter in name:
        if "\ud800" <= letter <= "\udfff":  # how Python shows bytes that are not UTF-8
            return "is not UTF-8"
        if not letter.isprintable():
            shown = unicodedata.name(letter, "a control character").lower()
            return f"holds a letter that cannot be seen, U+{ord(letter):04X} ({shown})"
    return None


def class_numbers(
    names: Sequence[str], class_names: Sequence[str], where: str = "evaluation.vscore.groups"
) -> list[int]:
    """Numbers of the named classes.

    Raises ValueError listing names that the data set does not have, after `where` they were given.
    """
    numbers = {composed(name): number for number, name in enumerate(class_names)}
    unknown = [name for name in names if composed(name) not in numbers]
    if unknown:
        shown = ", ".join(class_names[:20]) + (", ..." if len(class_names) > 20 else "")
        near = [close for name in unknown for close in get_close_matches(name, class_names, n=1)]
        hint = f"did you mean {', '.join(map(_visibly, near))}? " if near else ""
        raise ValueError(
            f"{where}: the data set has no class {', '.join(map(_visibly, unknown))}; {hint}Its "
            f"{len(class_names)} classes: {shown}"
        )
    return [numbers[composed(name)] for name in names]


def _visibly(name: str) -> str:
    """A name as it is, or quoted where it differs from another in what cannot be seen."""
    return name if name.isprintable() and name == name.strip() else ascii(name)
