"""Background loops that keep queues healthy, one a module."""
