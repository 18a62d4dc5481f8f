"""Tools for tests, of duly itself and of its users: a pytest plugin, a clock, outages."""
