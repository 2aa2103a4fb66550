"""The engine: jobs, replicates, the loop, and what they leave."""
