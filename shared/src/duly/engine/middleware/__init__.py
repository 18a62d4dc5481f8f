"""What wraps the running of a task: one concern a file."""
