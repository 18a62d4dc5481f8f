"""A number with its noun, as a person reads it."""


def plural(number: int, singular: str, several: str = "") -> str:
    """Return the number with its noun: `1 task`, `1,240 tasks`.

    Args:
        number: How many.
        singular: The noun for one.
        several: The noun for any other number; "": with an s.
    """
    return f"{number:,} {singular if number == 1 else several or singular + 's'}"
