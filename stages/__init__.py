"""Decant's commands: one module per DVC stage, wired from parameters, paths and the library."""

import sys

try:
    import pipeline  # noqa: F401 - refuses systems on which nothing below would work
except ImportError as error:
    sys.exit(f"error: {error}")
