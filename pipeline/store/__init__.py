"""The teacher's store: its format, writing and reading."""
