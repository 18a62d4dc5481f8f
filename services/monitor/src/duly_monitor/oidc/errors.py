"""Why somebody could not log in at the identity provider."""

from duly.errors import DulyError


class LoginRefusedError(DulyError):
    """The provider, or what it sent, does not let this person in."""


class ProviderDownError(DulyError):
    """The provider did not answer, or what it answered cannot be used.

    Args:
        place: The address that was asked.
        problem: What went wrong there.
    """

    def __init__(self, place: str, problem: str) -> None:
        self.place, self.problem = place, problem
        super().__init__(
            f"the identity provider at {place} cannot be used now: {problem}. Try again; if it "
            "lasts, whoever runs this monitor compares monitor.oidc with the provider's settings "
            "and sees whether the monitor may connect to it"
        )
