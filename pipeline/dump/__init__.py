"""A teacher to its store."""
