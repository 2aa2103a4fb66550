"""Numbers of what was trained: runs, scores, and one frame of everything."""
