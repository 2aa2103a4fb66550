"""What students minimise, one file a family."""
