"""Teachers and baselines: networks that learn from hard labels."""
