"""hard_labels."""
