"""Text that UTF-8 can carry: names of files and foreign exceptions may hold what is no text."""


def encodable(text: str) -> str:
    """Return a text with `?` in place of each lone surrogate, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")
