"""Tools for the tests of duly and of its users: a pytest plugin, a clock, outages."""

from duly.extras import require

require("duly.testing", "pytest")
