"""duly's worker."""
