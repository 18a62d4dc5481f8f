"""Payloads of the jobs that duly itself brings. No code that runs them."""

from duly.jobs.orders import CheckPendingOrders

__all__ = ["CheckPendingOrders"]
