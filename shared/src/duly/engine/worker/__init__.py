"""Runs tasks and settles what became of them: one server process."""
