"""Reads and operates what the broker holds, for the monitor, the command line and programs."""
