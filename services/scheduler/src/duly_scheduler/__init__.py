"""duly's scheduler."""
