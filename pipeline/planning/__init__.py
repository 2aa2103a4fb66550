"""What can be known before anything runs: mistakes, cost, rates."""
