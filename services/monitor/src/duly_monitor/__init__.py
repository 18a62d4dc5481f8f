"""duly's monitor."""
