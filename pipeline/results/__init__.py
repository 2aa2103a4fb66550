"""What training leaves behind, and metrics of logits."""
