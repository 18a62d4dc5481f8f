"""The order service: customers, products, orders and their items. Opened by the worker only.

Its `app` is declared without SQLAlchemy, so that schedulers read it; what opens the database needs
the extra `orders`.
"""
