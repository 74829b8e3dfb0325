"""The rules of sumo: who has lost, and what each side earns, over n matches at once.

Arrays end in an axis of the two sides: (n, 2), or (n, 2, 2) for places in the plane.
"""

from enum import IntEnum

import numpy as np

from metarl.envs.world import Bools, Floats

WIN, DRAW, APPROACH, PUSH, CONTROL = 2000.0, -1000.0, 0.1, -10.0, -0.1
"""Coefficients of the rewards (Al-Shedivat et al. 2018, and the world released with it)."""
LOW = 0.29
"""Height of the torso's centre below which it is down, m; its radius is 0.25 m."""
SHAPING = ("reward_control", "reward_approach", "reward_push")
"""Terms that are scaled by the weight of shaping; the others are the main reward."""


class Result(IntEnum):
    """How a match ended for one side."""

    NONE = 0
    """It goes on, or the physics broke down."""
    WIN = 1
    LOSS = 2
    DRAW = 3
    BOTH_LOST = 4


def lost(places: Floats, heights: Floats, ring: float) -> Bools:
    """Which sides are down or out, (n, 2).

    Args:
        places: Of the torsos along x and y, m, (n, 2, 2).
        heights: Of the torsos' centres over whatever the rule counts from, m, (n, 2).
        ring: Half the side of the square that must not be left, m.
    """
    return (heights < LOW) | (np.abs(places).max(axis=2) >= ring)


def shaping(
    before: Floats,
    after: Floats,
    actions: tuple[Floats, Floats],
    dt: float,
    weight: float,
    approach: float = APPROACH,
    retreat: float = 0.0,
) -> dict:
    """Rewards for trying, (n, 2) each.

    Args:
        before: Places of the torsos before the step, m, (n, 2, 2).
        after: And after it.
        actions: (n, A) of each side.
        dt: Seconds per step.
        weight: What all of them are multiplied by.
        approach: Reward for a metre per second towards the opponent.
        retreat: Share of that which a metre per second away from it costs.
    """
    other = after[:, ::-1]
    toward = other - before
    moved = (after - before) / dt
    # Two torsos cannot be in one place; were they, no direction would lead to the other.
    distance = np.maximum(_length(toward), 1e-9)
    speed = (moved[..., 0] * toward[..., 0] + moved[..., 1] * toward[..., 1]) / distance
    effort = np.stack([np.add.reduce(each * each, axis=1) for each in actions], axis=1)
    terms = (
        CONTROL * effort,
        approach * np.where(speed > 0, speed, retreat * speed),
        PUSH * np.exp(-_length(other)),
    )
    return {name: weight * term for name, term in zip(SHAPING, terms, strict=True)}


def main(out: Bools, draw: Bools) -> dict:
    """Rewards for the end of a match, (n, 2) each.

    Args:
        out: Which sides have lost, (n, 2).
        draw: Which matches end undecided, (n,).
    """
    return {
        "reward_win": np.where(out[:, ::-1], WIN, 0.0),
        "reward_lose": np.where(out, -WIN, 0.0),
        "reward_draw": np.where(np.stack([draw, draw], axis=1), DRAW, 0.0),
    }


def results(out: Bools, draw: Bools) -> np.ndarray:
    """The :class:`Result` of each side, (n, 2) int64."""
    other = out[:, ::-1]
    found = np.where(out, np.where(other, Result.BOTH_LOST, Result.LOSS), np.where(other, Result.WIN, 0))
    return np.where(draw[:, None], Result.DRAW, found)


def _length(vectors: Floats) -> Floats:
    return np.sqrt(vectors[..., 0] * vectors[..., 0] + vectors[..., 1] * vectors[..., 1])
