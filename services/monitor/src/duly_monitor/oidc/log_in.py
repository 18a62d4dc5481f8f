"""One log-in, from its begin until the browser comes back from the identity provider."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class LogIn:
    """What is remembered of a log-in while the browser is at the provider."""

    state: str
    nonce: str
    verifier: str
    redirect: str
    """Where the provider sends the browser back to."""

    def remembered(self) -> dict[str, str]:
        """Return it as what a cookie holds."""
        return asdict(self)

    @classmethod
    def of(cls, kept: dict[str, str]) -> "LogIn":
        """Return what a cookie of ours held."""
        return cls(kept["state"], kept["nonce"], kept["verifier"], kept["redirect"])
