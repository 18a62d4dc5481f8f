"""What the broker holds: keys, messages, Lua scripts, and the transitions between states."""
