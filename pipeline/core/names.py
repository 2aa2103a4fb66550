"""Names in params.yaml that stand for code: those of a registry, and dotted paths to the user's own.

A registry maps a name to `module:function`, so that knowing the names imports none of the code. The
user's own code lies in `own/losses` and `own/networks` (`pipeline.core.own`) or is installed.
"""

import ast
import importlib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.core.errors import DecantError, mistake_text
from pipeline.core.own import code_sha256, import_own


@cache
def parsed(module: str) -> ast.Module:
    """One of our modules as a syntax tree: its facts, known without importing it, and torch with it."""
    spec = find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None, module
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


class UnknownNameError(DecantError):
    """A name that no registry has, or a path that leads to no function."""


def load(
    name: str, registry: Mapping[str, str], kind: str, close: str | None = None
) -> Callable[..., Any]:
    """The function or class behind a name of the registry, or behind a path of the user's own.

    Paths are `own.losses.module:function` (or with a last dot), or of an installed package.

    Args:
        kind: what is named, for messages: loss, network.
        close: the name that was probably meant, where that is known.

    Raises UnknownNameError, listing the valid names, where there is nothing behind it.
    """
    name = str(name)
    if name in registry:
        module_name, _, attribute = registry[name].partition(":")
        return getattr(importlib.import_module(module_name), attribute)  # type: ignore[no-any-return]
    module_name, attribute = _split(name, registry, kind, close)
    try:
        module = import_own(module_name, kind)
    except DecantError:
        raise
    except Exception as error:  # whatever the user's code raises
        reason = f"{type(error).__name__}: {mistake_text(error)}"
        raise UnknownNameError(
            f"{kind} {name!r}: cannot import {module_name} ({reason})"
        ) from error
    if not hasattr(module, attribute):
        raise UnknownNameError(f"{kind} {name!r}: {module_name} holds no {attribute}")
    function = getattr(module, attribute)
    if not callable(function):
        raise UnknownNameError(f"{kind} {name!r}: {attribute} is not a function")
    return function  # type: ignore[no-any-return]


def own_code_sha256(name: str, registry: Mapping[str, str], kind: str) -> str | None:
    """Digest (hex) of the user's own code behind a name; None for names of the registry.

    Raises as `load`.
    """
    load(name, registry, kind)
    if name in registry:
        return None
    return code_sha256(import_own(_split(name, registry, kind)[0], kind))


def _split(
    name: str, registry: Mapping[str, str], kind: str, close: str | None = None
) -> tuple[str, str]:
    module_name, _, attribute = name.replace(":", ".").rpartition(".")
    if not module_name or module_name.startswith("."):
        near = [close] if close in registry else get_close_matches(name, registry, n=1)
        hint = f"did you mean {near[0]}? Valid" if near else "valid"
        raise UnknownNameError(
            f"no {kind} {name!r}; {hint}: {', '.join(registry)}, or the path of one of your own "
            "(module:function)"
        )
    return module_name, attribute
