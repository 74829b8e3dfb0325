"""Iterated adaptation games: rounds against an opponent that goes on training, won by who wins more of their episodes.

Al-Shedivat et al. 2018 (arXiv 1710.03641, sec. 4.2 and 5.1). A game is a lifetime whose episodes are matches; a round is
some of them in a row.

Legend: G groups of games (opponents), L games of each, E episodes, K rounds.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from metarl.agents.lifetime_evaluation import LifetimeEvaluation

MARGIN = 0.05
"""Share of the rounds by which the winner of a game must be ahead."""
PARTS = 4
"""A game's rounds are summed up by quarters."""


def episodes_per_round(schedule: Any) -> int | None:
    """Episodes of a round, if the schedule of a lifetime (its name, or its JSON form) is that of a game; else None."""
    fields = {"schedule": schedule} if isinstance(schedule, str) else schedule
    if not isinstance(fields, Mapping) or fields.get("schedule") != "rising-versions":
        return None
    return int(fields.get("episodes_per_round", 3))


def rounds(score: np.ndarray, per_round: int) -> np.ndarray:
    """Who won each round: 1 the agent, -1 the opponent, 0 neither.

    Args:
        score: Of episodes, 1 won, -1 lost, else 0; shape (..., E).
        per_round: Episodes of a round; E is a multiple of it.

    Returns:
        Shape (..., K).

    Raises:
        ValueError: The last round is not whole.
    """
    if score.shape[-1] % per_round:
        raise ValueError(f"{score.shape[-1]} episodes are no whole number of rounds of {per_round}")
    return np.sign(score.reshape(*score.shape[:-1], -1, per_round).sum(-1))


def winner(won: np.ndarray) -> np.ndarray:
    """Who won each game: 1 the agent, -1 the opponent, 0 neither was ahead by `MARGIN`.

    Args:
        won: As `rounds` gives it, shape (..., K).

    Returns:
        Shape (...).
    """
    ahead = won.mean(-1)
    return np.where(np.abs(ahead) >= MARGIN, np.sign(ahead), 0.0)


def by_quarters(evaluation: LifetimeEvaluation, per_round: int) -> LifetimeEvaluation:
    """The share of rounds that each method won in each quarter of its games, in the place of returns.

    Args:
        evaluation: Of lifetimes in a world that tells scores.
        per_round: Episodes of a round.

    Returns:
        Scores of shape (G, L, 4), and of games with fewer than 4 rounds (G, L, K).

    Raises:
        ValueError: The world tells no scores.
    """
    shares = {}
    for label in evaluation.scores:
        measures = evaluation.measures.get(label, {})
        if "score" not in measures:
            raise ValueError(f"'{label}' has no scores: its world has no matches that can be won")
        won = rounds(measures["score"], per_round) > 0
        parts = np.array_split(won, min(PARTS, won.shape[-1]), axis=-1)
        shares[label] = np.stack([part.mean(-1) for part in parts], axis=-1)
    return replace(evaluation, scores=shares, measures={})


def games_won(evaluation: LifetimeEvaluation, per_round: int) -> dict[str, dict[str, float]]:
    """Shares of games that each method won, lost and neither, by label."""
    found = {}
    for label, measures in evaluation.measures.items():
        outcome = winner(rounds(measures["score"], per_round))
        found[label] = {
            "won": float((outcome > 0).mean()),
            "lost": float((outcome < 0).mean()),
            "neither": float((outcome == 0).mean()),
        }
    return found
