"""Where duly meets a database: enqueue on commit, and the transactional outbox.

Nothing else imports these modules: SQLAlchemy and Django are needed by those who use them.
"""
