"""Stores that are read in place: from a bucket or a web server."""
