"""A shop that leaves to duly what need not happen at once."""
