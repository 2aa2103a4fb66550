"""The networks by name, and weights in and out."""
