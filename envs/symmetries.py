"""Turns and mirrorings of the mat that wrestlers do not notice, and the frame in which all of them are one.

The mat is a square, so it has eight of them; an ant looks the same after each, a bug after four, a spider after two. What
happens to wrestlers that are turned or mirrored, and act accordingly, is what happened, turned or mirrored. So what is to
be learned is the same in each (Abdolhosseini et al. 2019, arXiv 1909.12532, on the left and right of walkers).
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from metarl.envs.wrestlers import ANATOMIES, Anatomy, Limb

Plane = NDArray[np.int64]
"""An orthogonal matrix (2, 2) of 0, 1 and -1, that acts on x and y."""


@dataclass(frozen=True)
class SignedPermutation:
    """A rearrangement of numbers of which some change their sign: `y = signs * x[..., places]`."""

    places: NDArray[np.intp]
    """Where each number comes from."""
    signs: NDArray[np.float32]
    """1 or -1 for each."""

    def __call__(self, x: NDArray) -> NDArray:
        """Rearrange the last axis."""
        return x[..., self.places] * self.signs


DIRECTION = np.array([np.cos(np.pi / 8), np.sin(np.pi / 8)])
"""Where the opponent is in a canonical frame, about: 22.5 degrees from x, on no axis of any symmetry."""


@dataclass(frozen=True)
class Symmetry:
    """What a turn or mirroring makes of what the first side sees and does."""

    plane: Plane
    """Of places on the mat."""
    observation: SignedPermutation
    """Of an observation (..., D)."""
    action: SignedPermutation
    """Of an action (..., A)."""


class Canonical:
    """The frame in which a wrestler sees its opponent always on the same side.

    Of all turns and mirrorings that its body does not notice, the one is taken after which the opponent lies nearest to
    a fixed direction: for an ant within an eighth of all directions, for a bug a quarter, for a spider a half. A policy
    that sees and acts in this frame does the same in all of them by construction, and has to learn it once.

    Args:
        body: The wrestler's, such as `Ant`.
    """

    def __init__(self, body: str):
        found = symmetries(body, body)
        self._planes = np.stack([each.plane for each in found])
        self._seen = _stacked([each.observation for each in found])
        self._inverse = _stacked([_inverse(each.action) for each in found])
        self._opponent = 22 * len(ANATOMIES[body].limbs) + 19

    def choose(self, toward: NDArray) -> NDArray[np.intp]:
        """Which turn the frame takes.

        Args:
            toward: Vectors in the plane from the wrestlers to their opponents, (n, 2).
        """
        return np.einsum("kij,nj,i->nk", self._planes, toward, DIRECTION).argmax(axis=1)

    def see(self, obs: NDArray) -> tuple[NDArray, NDArray[np.intp]]:
        """Turn what is observed.

        Args:
            obs: (n, D), as the world gives it.

        Returns:
            (n, D) in the frame, and (n,) which turn that took.
        """
        chosen = self.choose(obs[:, self._opponent : self._opponent + 2] - obs[:, :2])
        places, signs = self._seen
        return np.take_along_axis(obs, places[chosen], axis=1) * signs[chosen].astype(obs.dtype), chosen

    def act(self, actions: NDArray, chosen: NDArray[np.intp]) -> NDArray:
        """Turn actions back into those of the world.

        Args:
            actions: (n, A) in the frame.
            chosen: (n,), as `see` gave it.
        """
        places, signs = self._inverse
        return np.take_along_axis(actions, places[chosen], axis=1) * signs[chosen].astype(actions.dtype)


def _stacked(maps: list[SignedPermutation]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    return np.stack([each.places for each in maps]), np.stack([each.signs for each in maps])


def _inverse(given: SignedPermutation) -> SignedPermutation:
    order = np.argsort(given.places)
    return SignedPermutation(order, given.signs[order])


@cache
def symmetries(one: str, other: str) -> tuple[Symmetry, ...]:
    """All that keep both wrestlers as they are, the one that changes nothing first.

    Args:
        one: Body of the side that sees, such as `Ant`.
        other: Body of its opponent.
    """
    found = []
    for plane in _planes():
        legs = _legs(ANATOMIES[one], plane)
        if legs is not None and _legs(ANATOMIES[other], plane) is not None:
            found.append(Symmetry(plane, _of_observation(plane, legs), _permutation(_of_joints(plane, legs))))
    return tuple(found)


def _planes() -> list[Plane]:
    """The eight signed permutations of x and y, the identity first."""
    found = []
    for swapped, x, y in product((False, True), (1, -1), (1, -1)):
        plane = np.array([[x, 0], [0, y]])
        found.append(plane[::-1] if swapped else plane)
    return found


def _legs(anatomy: Anatomy, plane: Plane) -> list[tuple[int, int]] | None:
    """For each leg which one takes its place, and the sign that its ankle's angle gets; None if one finds no place."""
    found: dict[int, tuple[int, int]] = {}
    for number, limb in enumerate(anatomy.limbs):
        for place, there in enumerate(anatomy.limbs):
            sign = _fits(limb, there, plane)
            if sign:
                found[place] = (number, sign)
    if len(found) < len(anatomy.limbs):
        return None
    return [found[place] for place in range(len(anatomy.limbs))]


def _fits(limb: Limb, there: Limb, plane: Plane) -> int:
    """Sign of the ankle's angle where a limb, moved by a plane's symmetry, is the one that is there; else 0."""
    for part in ("shoulder", "thigh", "shank"):
        x, y, z = getattr(limb, part)
        if not np.allclose([*(plane @ (x, y)), z], getattr(there, part)):
            return 0
    # An axis is a pseudovector: a mirroring turns it round.
    axis = _handedness(plane) * plane @ np.array(limb.axis)
    for sign, ankle in ((1, limb.ankle), (-1, (-limb.ankle[1], -limb.ankle[0]))):
        if np.allclose(axis, sign * np.array(there.axis)) and np.allclose(ankle, there.ankle):
            return sign
    return 0


def _handedness(plane: Plane) -> int:
    """1 for a turn, -1 for a mirroring."""
    return int(plane[0, 0] * plane[1, 1] - plane[0, 1] * plane[1, 0])


Parts = list[tuple[int, int]]
"""Places and signs, number by number."""


def _of_observation(plane: Plane, legs: list[tuple[int, int]]) -> SignedPermutation:
    """In the order of :meth:`metarl.envs.sumo.RoboSumo.observe_side`."""
    handed, joints = _handedness(plane), _of_joints(plane, legs)
    vector, axis = _of_vector(plane, 1), _of_vector(plane, handed)
    pose = [vector, [(0, 1)], axis]  # place, then the quaternion's real part and its axis
    bodies = [0, *(1 + 3 * number + part for number, _ in legs for part in range(3))]
    # Forces are seen without their signs.
    force = [(place, 1) for place, _ in vector]
    own = [[(6 * body + place, 1) for place, _ in _joined([force, force])] for body in bodies]
    forces = [pair for each in own for pair in each]
    return _permutation(_joined([*pose, joints, vector, axis, joints, forces, *pose, force, force]))


def _of_vector(plane: Plane, sign: int) -> Parts:
    """Of a vector in space, or with the handedness as its sign of a pseudovector; z is up."""
    inside = [(int(np.flatnonzero(row)[0]), sign * int(row.sum())) for row in plane]
    return [*inside, (2, sign)]


def _of_joints(plane: Plane, legs: list[tuple[int, int]]) -> Parts:
    """Of hips and ankles, or their motors; hips turn about the vertical."""
    handed = _handedness(plane)
    return [pair for number, sign in legs for pair in ((2 * number, handed), (2 * number + 1, sign))]


def _joined(parts: list[Parts]) -> Parts:
    """One after another, each in its own numbers."""
    found: Parts = []
    for part in parts:
        start = len(found)
        found += [(start + place, sign) for place, sign in part]
    return found


def _permutation(pairs: Parts) -> SignedPermutation:
    places, signs = zip(*pairs, strict=True)
    return SignedPermutation(np.array(places, np.intp), np.array(signs, np.float32))
