"""Applications: what a team declares in a package of its own, and how services find and run it."""
