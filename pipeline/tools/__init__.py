"""What is done with finished stores, checkpoints and runs; reached by no stage."""
