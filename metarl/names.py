"""Names that a user may mistype, and patterns of names."""

from collections.abc import Iterable
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from itertools import takewhile

CLOSE = 0.55
"""How alike what was typed and what is known must be for a hint, of 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not known.

    Args:
        name: What was typed.
        known: Names that would have been right.

    Returns:
        `"did you mean 'x'?"` when something known is close, else the list of what is known.
    """
    known = sorted(known)
    closest = max(known, key=lambda each: _likeness(name.lower(), each.lower()), default=None)
    if closest is not None and _likeness(name.lower(), closest.lower()) >= CLOSE:
        return f"did you mean '{closest}'?"
    return f"known: {', '.join(known)}"


def _likeness(a: str, b: str) -> float:
    """Share of letters in common, and more where up to four at the start are the same (Winkler 1990)."""
    share = SequenceMatcher(a=b, b=a).ratio()
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a[:4], b[:4], strict=False)))
    return share + 0.1 * start * (1 - share)


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
