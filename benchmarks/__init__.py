"""How fast Decant is, as ratios: `python -m benchmarks`. Nothing here is a test, nothing fails."""
