"""The handlers: one file a family of jobs."""
