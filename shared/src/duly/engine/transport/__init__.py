"""Bytes to a node: one connection, its protocol, where nodes are, and what a Cluster redirects."""
