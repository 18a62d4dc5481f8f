"""The background loops that keep a queue healthy, one a file."""
