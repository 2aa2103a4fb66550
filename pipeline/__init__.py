"""Decant's library: formats and maths. It knows no parameter files, no commands and no terminal."""

try:
    import fcntl  # noqa: F401 - not there on Windows
except ImportError:
    raise ImportError(
        "Decant runs on Linux (and should on macOS), not on Windows itself: its work folders need locks, "
        "links and folders that are synced as POSIX has them; use it in WSL"
    ) from None
