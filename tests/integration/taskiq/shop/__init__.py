"""A small taskiq application, as one finds them: it knows nothing of duly."""
