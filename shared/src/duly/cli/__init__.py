"""`duly`, the command: one noun a file."""
