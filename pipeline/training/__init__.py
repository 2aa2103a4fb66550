"""The training engine: jobs, replicates, the loop, and the results of training."""
