"""Trainings followed from outside: their metrics, and loggers that pass them on. No stage knows of it."""
