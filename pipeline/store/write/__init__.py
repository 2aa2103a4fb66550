"""Unfinished groups of a store, and what writes them."""
