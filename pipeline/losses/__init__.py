"""The losses of students, one file per family."""
