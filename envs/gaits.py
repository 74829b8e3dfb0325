"""Gaits by hand: how a wrestler walks up to its opponent before anybody has learned anything.

Legend: n rows, D observation size, A action size, L legs.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from metarl.envs.wrestlers import ANATOMIES


@dataclass(frozen=True)
class Gait:
    """Every other leg carries while those between swing forward, towards the opponent.

    Hips follow a sine whose phase is not that of a clock but read from the hips themselves, a little ahead of where they
    are: so what is done depends on what is observed alone, and a network without memory can learn to do it. Joints are
    moved by proportional and derivative control.

    The numbers of those in `GAITS` were found by the cross-entropy method on how far one walks and pushes an ant that
    stands.
    """

    body: str
    """The wrestler's, such as `Spider`."""
    swing: float
    """Amplitude of a hip whose leg points across the way, radians."""
    lift: float
    """How far ankles of legs that swing forward bend up, radians."""
    stance: float
    """How far ankles of legs that carry are bent down, radians."""
    reach: float
    """Amplitude of ankles of legs that point along the way, radians."""
    frequency: float
    """Steps of a leg by which speeds of hips are compared with their angles, Hz."""
    lead: float
    """How far the phase that is asked for is ahead of that of the hips, radians."""
    lift_phase: float
    """How much sooner than the swing the lift is, radians."""
    stiffness: float
    """Action for each radian that a joint is off."""
    damping: float
    """Action against each radian per second."""

    @property
    def observation_size(self) -> int:
        """D."""
        return ANATOMIES[self.body].observation_size

    @property
    def action_size(self) -> int:
        """A = 2 L."""
        return ANATOMIES[self.body].action_size

    def __call__(self, obs: NDArray) -> NDArray[np.float64]:
        """Actions in [-1, 1], (n, A), for observations (n, D) of :class:`metarl.envs.sumo.RoboSumo`."""
        azimuth, side, turn = _legs(self.body)
        way = _way(obs) - azimuth
        across, along, A = np.sin(way), np.cos(way), self.action_size
        angles, speeds = obs[:, 7 : 7 + A], obs[:, 13 + A : 13 + 2 * A]
        lever = across * np.cos(turn)
        size = self.swing * np.square(across).sum(axis=1)
        sine = (lever * angles[:, ::2]).sum(axis=1) / size
        cosine = (lever * speeds[:, ::2]).sum(axis=1) / (2 * np.pi * self.frequency * size)
        ahead = np.arctan2(sine, cosine + 0.1) + self.lead  # at rest a little forward, to begin
        phase = ahead[:, None] + turn
        raised = np.maximum(0.0, np.cos(phase + self.lift_phase))
        wanted = np.empty((len(obs), A))
        wanted[:, ::2] = self.swing * across * np.sin(phase)
        wanted[:, 1::2] = side * (self.stance - self.lift * raised + self.reach * along * np.sin(phase))
        return np.clip(self.stiffness * (wanted - angles) - self.damping * speeds, -1.0, 1.0)


def _way(obs: NDArray) -> NDArray:
    """Where the opponent is as seen from the torso, radians, (n, 1)."""
    w, x, y, z = obs[:, 3:7].T
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    toward = obs[:, -13:-11] - obs[:, :2]
    return (np.arctan2(toward[:, 1], toward[:, 0]) - yaw)[:, None]


@cache
def _legs(body: str) -> tuple[NDArray, NDArray, NDArray]:
    """Where each leg points, radians; its side, 1 or -1; and the phase by which it is behind, 0 or pi: (L,) each."""
    points = np.array([limb.shank[:2] for limb in ANATOMIES[body].limbs])
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    return azimuth, np.sign(points[:, 0]), np.pi * (np.argsort(np.argsort(azimuth)) % 2)


GAITS = {
    "gait-ant": Gait(
        body="Ant",
        swing=0.188,
        lift=0.508,
        stance=1.143,
        reach=-0.33,
        frequency=1.443,
        lead=1.866,
        lift_phase=-0.701,
        stiffness=1.793,
        damping=0.204,
    ),
    "gait-bug": Gait(
        body="Bug",
        swing=0.415,
        lift=0.785,
        stance=1.048,
        reach=-0.068,
        frequency=1.506,
        lead=1.393,
        lift_phase=-0.432,
        stiffness=1.881,
        damping=0.195,
    ),
    "gait-spider": Gait(
        body="Spider",
        swing=0.599,
        lift=0.602,
        stance=0.0,
        reach=-0.145,
        frequency=1.374,
        lead=1.664,
        lift_phase=-0.288,
        stiffness=1.828,
        damping=0.217,
    ),
}
"""By the names under which they wrestle; found by `python benchmarks/gait_search.py BODY`."""
