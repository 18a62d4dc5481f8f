"""The shop's mail. This one only logs; yours talks to your provider."""

import structlog

log = structlog.get_logger("shop.mail")


class Mail:
    """Sends mail from one address."""

    def __init__(self, sender: str) -> None:
        self._sender = sender

    async def send(self, to: str, subject: str, *, key: str) -> None:
        """Send a mail; the provider drops a second one with the same key."""
        log.info("Mail sent", sender=self._sender, to=to, subject=subject, key=key)
