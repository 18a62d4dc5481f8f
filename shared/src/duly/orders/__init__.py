"""The order service: customers, products, orders and their items. Opened by the worker only."""
