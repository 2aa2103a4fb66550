"""Decant's commands: one module per DVC stage, wired from parameters, paths and the library."""
