"""The queue engine, on taskiq and taskiq-redis; the only importer of redis."""
