"""Decant's library: formats and maths. It knows no parameter files, no commands and no terminal."""
