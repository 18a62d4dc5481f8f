"""The bridge to taskiq: its applications run on duly's queues, with their tasks as they are."""
