"""What teachers and baselines learn from."""
