"""What an agent did over lifetimes: sequences of episodes whose task changes from one to the next."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Lives:
    """Lifetimes lived side by side by copies of one agent."""

    returns: np.ndarray
    """Undiscounted return of every episode, shape (lifetimes, episodes)."""
    measures: dict[str, np.ndarray] = field(default_factory=dict)
    """Further numbers of every episode by name, shape (lifetimes, episodes) each: `speed` (m/s),
    `effective_sample_size`, `inner_kl`."""


def episode_seeds(rng: np.random.Generator, lifetimes: int, episodes: int) -> np.ndarray:
    """Seeds of the initial states, to be drawn before anything else: all methods then start alike.

    Returns:
        Shape (episodes, lifetimes).
    """
    return rng.integers(2**31, size=(episodes, lifetimes))
