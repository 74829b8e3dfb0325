"""Names that a user may mistype."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not known.

    Args:
        name: What was typed.
        known: Names that would have been right.

    Returns:
        `"did you mean 'x'?"` when something known is close, else the list of what is known.
    """
    known = sorted(known)
    by_lower = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{by_lower[close[0]]}'?"
    return f"known: {', '.join(known)}"


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for an unknown name: what was got and the nearest that is known."""
    return ValueError(f"unknown {kind} '{name}': {nearest(name, known)}")
