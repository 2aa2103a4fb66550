"""From a plan to pixels, and from pixels to logits."""
