"""Networks by name; reading and writing of weights."""
