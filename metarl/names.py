"""Names that a user may mistype, and patterns of names."""

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase


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


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of some patterns as the shell has them: `net.*`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def matching(names: Iterable[str], patterns: Iterable[str], what: str) -> tuple[str, ...]:
    """The names that fit one of some patterns, in the order of the names.

    Args:
        names: To choose from.
        patterns: As the shell has them: `("policy.*",)`.
        what: What the patterns are, for the error.

    Raises:
        ValueError: A pattern fits nothing.
    """
    names, patterns = tuple(names), tuple(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"{what} '{pattern}' matches nothing: {nearest(pattern, names)}")
    return tuple(name for name in names if fits(name, patterns))
