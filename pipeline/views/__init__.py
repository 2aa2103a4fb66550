"""Views: their plans, their pixels, and the logits of a network on them."""
