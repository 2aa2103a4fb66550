"""The study's published tables, their arrangement, and what it claims."""
