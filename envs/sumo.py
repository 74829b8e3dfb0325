"""Two wrestlers on a mat: the world of sumo over n matches, which all its faces share.

The faces are a PettingZoo `ParallelEnv` (:mod:`metarl.envs.sumo_parallel`), n matches for self-play
(:mod:`metarl.envs.sumo_matches`), and one side against an opponent (:mod:`metarl.envs.sumo_single`).
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.envs import sumo_rules
from metarl.envs.simulation import Simulation
from metarl.envs.world import ALL, Bools, Floats, Rows, View, check_horizon
from metarl.envs.wrestlers import ANATOMIES, MAT_TOP, scene
from metarl.names import unknown

PAIRINGS = tuple(f"{one}-vs-{two}" for one, two in product(ANATOMIES, repeat=2))
PHYSICS = {"rk4": "rk4", "fast": "implicitfast"}
DEFAULT_PHYSICS = "fast"
FORCES = ("abs", "square")
FRAME_SKIP = 5
RADIUS, HEIGHT = 1.15, 1.25
"""Where the torsos start: from the middle, and over the floor, m."""
STRONGEST = 100.0
"""Contact forces are clipped to this when observed, N or N m."""


def check_pairing(pairing: str) -> tuple[str, str]:
    """The two wrestlers of a pairing, or of the id of its world.

    Raises:
        ValueError: If there is no such pairing, naming the nearest.
    """
    short = pairing.removeprefix("metarl/").removeprefix("RoboSumo-").removesuffix("-v0")
    if short not in PAIRINGS:
        raise unknown("pairing", short, PAIRINGS)
    one, two = short.split("-vs-")
    return one, two


@dataclass
class Bout:
    """What one control step did to n matches."""

    terms: dict[str, Floats]
    """Rewards by name, (n, 2) each, a column for each side; their sum, in this order, is the reward."""
    terminated: Bools
    """(n,) Whether somebody has lost, or the physics broke down."""
    truncated: Bools
    """(n,) Whether the time is up, with nobody having lost."""
    results: NDArray[np.int64]
    """(n, 2) The :class:`metarl.envs.sumo_rules.Result` of each side."""
    diverged: Bools
    """(n,) Whether the physics broke down; nothing is earned then."""


class RoboSumo:
    """Two wrestlers on a square mat; who pushes the other out of the ring, or down, wins.

    The world of sec. 4.2 of Al-Shedivat et al. 2018 (RoboSumo), built from its published numbers.

    ## Bodies
    A sphere of radius 0.25 m on legs of two joints each. Every joint has armature 1 kg m^2, damping 1 N m s/rad and a
    motor of 150 N m. The mat is a box whose top is 0.5 m over the floor, with a border 2 m from its middle.

    | wrestler | legs | mass (kg) | hips (degrees) | ankles (degrees) | actions | observations |
    |---|---|---|---|---|---|---|
    | Ant | 4 | 2.368 | -30 to 30 | 30 to 70 | 8 | 120 |
    | Bug | 6 | 2.310 | -30 to 30 | 30 to 70 | 12 | 164 |
    | Spider | 8 | 2.829 | -20 to 20 | -45 to 35 | 16 | 208 |

    Ankles on the side of negative x turn the other way: -70 to -30, -35 to 45. Standing still, an ant and a bug stay on
    their feet, a spider sinks onto its torso and loses.

    ## Actions
    `Box(-1, 1, (A,), float32)` for each side, clipped: hip and ankle of leg 1, of leg 2 ..., each 150 N m at 1.

    ## Observations
    `Box(-inf, inf, (D,), float64)` for each side. With L legs:

    | numbers | quantity | unit |
    |---|---|---|
    | 3 | own place along x, y, and height over the mat (over the floor with `legacy_z`) | m |
    | 4 | own orientation, a quaternion w, x, y, z | |
    | 2 L | own angles of the hip and ankle of leg 1, of leg 2 ... | rad |
    | 3 | own velocity along x, y, z | m/s |
    | 3 | own angular velocity, in the torso's frame | rad/s |
    | 2 L | own angular velocities of the joints, as above | rad/s |
    | 6 (1 + 3 L) | contact forces on the own torso, on shoulder, thigh and shank of leg 1, of leg 2 ... | N m, N |
    | 7 | the opponent's place, height and orientation, as above | m |
    | 6 | contact forces on the opponent's torso | N m, N |

    Contact forces are a torque along x, y, z and a force along x, y, z for each body. Their absolute values are seen,
    clipped to 100; with `force_transform="square"` their squares, clipped to 100, as the paper's text has it. They are
    MuJoCo's `cfrc_ext` as its sensors see it: those at the beginning of the last physics step of a control step. That is
    one definition for all faces and both kinds of physics; what `mj_rnePostConstraint` gives after a step is the same
    under `fast`, and another number under `rk4`.

    ## Reward
    For each side the sum of these, all in info; the first three are multiplied by `shaping`:

    * `reward_control = -0.1 * sum(action ** 2)`
    * `reward_approach = approach * (max(v . u, 0) + retreat * min(v . u, 0))`, v own velocity over the step, u the
      direction from where one was to where the opponent is
    * `reward_push = -10 * exp(-d)`, d the opponent's distance from the middle
    * `reward_win = 2000` if the opponent is down or out, else 0
    * `reward_lose = -2000` if one is down or out oneself, else 0
    * `reward_draw = -1000` if the time is up and nobody has lost, else 0

    `shaping` is an attribute, and may be lowered to 0 while training goes on; the rewards for the end stay as they are.

    ## Start, end
    Opposite each other at 1.15 m from the middle in a random direction, 0.75 m over the mat, all joints at 0; then every
    position gets U(-noise, noise) added, and velocities are noise * N(0, 1).

    A side has lost when its torso's centre is less than 0.29 m over the mat, or 2.1 m or more from the middle in x or y.
    That terminates the match for both; if both lose in one step each gets 2000 - 2000 = 0. The match is truncated after
    `horizon` steps: a draw.

    `outcome` in info is 1 for a win, 2 a loss, 3 a draw, 4 if both lost, 0 while the match goes on, and if the physics
    breaks down, which ends it with nothing earned.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | pairing | that of the id | such as "Ant-vs-Bug" |
    | horizon | 500 | steps in a match, of 0.05 s |
    | physics | "fast" | `implicitfast`, or "rk4", as published, at the same time step of 0.01 s |
    | shaping | 1.0 | weight of the rewards for trying |
    | approach | 0.1 | coefficient of `reward_approach`; a larger one teaches beginners to attack |
    | retreat | 0.0 | share of `approach` that moving away costs; at 1, swaying to and fro earns nothing |
    | force_transform | "abs" | or "square" |
    | tatami_size | 2.0 | from the middle to the border, m; the ring ends 0.1 m further, the mat 0.3 m |
    | noise | 0.1 | spread of the initial state |
    | adjust_z | -0.5 | what is added to heights, in observations and in the rule |
    | legacy_z | False | heights over the floor, the released world's default: then nobody can be down on the mat |
    | legacy_501 | False | one step more, as the released world has it |

    ## Versions
    v0: differs from the released world in that actions are clipped before their cost is counted, and that who wins in the
    very last step has no draw. Its defaults are those with which its published policies play.
    """

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        pairing: str = "Ant-vs-Ant",
        horizon: int = 500,
        physics: str = DEFAULT_PHYSICS,
        shaping: float = 1.0,
        approach: float = sumo_rules.APPROACH,
        retreat: float = 0.0,
        force_transform: str = "abs",
        tatami_size: float = 2.0,
        noise: float = 0.1,
        adjust_z: float = -MAT_TOP,
        legacy_z: bool = False,
        legacy_501: bool = False,
    ):
        self.names = check_pairing(pairing)
        if physics not in PHYSICS:
            raise unknown("physics", physics, PHYSICS)
        if force_transform not in FORCES:
            raise unknown("force_transform", force_transform, FORCES)
        check_horizon(horizon)
        if not (math.isfinite(noise) and noise >= 0):
            raise ValueError(f"noise must not be negative, got {noise}")
        if not (math.isfinite(tatami_size) and tatami_size >= RADIUS):
            raise ValueError(
                f"tatami_size must be at least {RADIUS} m, where the wrestlers start, got {tatami_size}"
            )
        model = scene(self.names, integrator=PHYSICS[physics], mat=tatami_size).compile()
        self.simulation = Simulation(model, num, frame_skip=FRAME_SKIP, num_threads=num_threads)
        self.num, self.dt, self.horizon = num, self.simulation.dt, horizon + bool(legacy_501)
        self.ring, self.shaping, self.approach = tatami_size + 0.1, shaping, float(approach)
        self.retreat = float(retreat)
        self.view = View(distance=3.4 * tatami_size, azimuth=90.0, elevation=-35.0)
        self.adjust_z = 0.0 if legacy_z else float(adjust_z)
        self.elapsed = np.zeros(num, np.int64)
        self._noise, self._square = noise, force_transform == "square"
        self._slice()
        self.observation_sizes = tuple(each.shape[1] for each in self.observe(np.arange(1)))

    def _slice(self) -> None:
        """Find which numbers of the simulation are whose."""
        anatomies = [ANATOMIES[name] for name in self.names]
        self.action_sizes = tuple(2 * len(each.limbs) for each in anatomies)
        joints = np.cumsum([0, *self.action_sizes])
        bodies = np.cumsum([1, *(each.num_bodies for each in anatomies)])  # the world itself comes first
        qpos, qvel, self._computed = (
            self.simulation.qpos,
            self.simulation.qvel,
            self.simulation.bind("cfrc_ext"),
        )
        # What was last observed: it is part of the state, and what the simulation computes cannot be put back there.
        self._contact = np.zeros_like(self._computed)
        self._qpos = tuple(qpos[:, joints[i] + 7 * i : joints[i + 1] + 7 * (i + 1)] for i in (0, 1))
        self._qvel = tuple(qvel[:, joints[i] + 6 * i : joints[i + 1] + 6 * (i + 1)] for i in (0, 1))
        self._forces = tuple(self._contact[:, bodies[i] : bodies[i + 1]] for i in (0, 1))

    @property
    def shaping(self) -> float:
        """Weight of the rewards for trying; may be set at any time."""
        return self._shaping

    @shaping.setter
    def shaping(self, weight: float) -> None:
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"shaping must be a weight of 0 or more, got {weight}")
        self._shaping = float(weight)

    def begin(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """Start matches ``ids`` (sorted), with one generator each."""
        self.simulation.reset(ids)
        self.elapsed[ids] = 0
        for index, rng in zip(ids, rngs, strict=True):
            angle = rng.uniform(0.0, 2 * math.pi)
            for side, qpos in enumerate(self._qpos):
                x, y = math.cos(angle + side * math.pi), math.sin(angle + side * math.pi)
                qpos[index, :3] = RADIUS * x, RADIUS * y, HEIGHT
            self.simulation.qpos[index] += rng.uniform(-self._noise, self._noise, self.simulation.model.nq)
            self.simulation.qvel[index] = self._noise * rng.standard_normal(self.simulation.model.nv)
        self.simulation.forward(ids)
        self._contact[ids] = self._computed[ids]

    def advance(self, actions: tuple[Floats, Floats], ids: NDArray[np.intp] | None = None) -> Bout:
        """One control step of matches ``ids`` (all if None); other rows of what it gives mean nothing.

        Args:
            actions: (n, A) of each side, in [-1, 1].
            ids: Sorted and unique.
        """
        before = self._places()
        diverged = self.simulation.step(np.concatenate(actions, axis=1), ids)
        rows = ALL if ids is None else ids
        self.elapsed[rows] += 1
        self._contact[rows] = self._computed[rows]
        after = self._places()
        heights = np.stack([qpos[:, 2] for qpos in self._qpos], axis=1) + self.adjust_z
        out = sumo_rules.lost(after, heights, self.ring)
        over = out.any(axis=1)
        truncated = (self.elapsed >= self.horizon) & ~over
        if diverged is None:
            diverged = np.zeros(self.num, np.bool_)
        else:
            out[diverged], truncated[diverged], over[diverged] = False, False, True
        terms = sumo_rules.shaping(before, after, actions, self.dt, self.shaping, self.approach, self.retreat)
        terms.update(sumo_rules.main(out, truncated))
        if diverged.any():
            for term in terms.values():
                term[diverged] = 0.0
        return Bout(terms, over, truncated, sumo_rules.results(out, truncated), diverged)

    def _places(self) -> Floats:
        """Of the torsos along x and y, (n, 2, 2), a copy."""
        return np.stack([qpos[:, :2] for qpos in self._qpos], axis=1)

    def toward(self) -> Floats:
        """From the first torso to the second along x and y, m, (n, 2)."""
        one, two = self._qpos
        return two[:, :2] - one[:, :2]

    def observe(self, rows: Rows = ALL) -> tuple[Floats, Floats]:
        """New arrays (len(rows), D), one for each side."""
        one, two = self.observe_side(0, rows), self.observe_side(1, rows)
        return one, two

    def observe_side(self, side: int, rows: Rows = ALL) -> Floats:
        """What one side sees; new array (len(rows), D)."""
        mine, other = self._qpos[side][rows], self._qpos[1 - side][rows, :7]
        own, torso = self._forces[side][rows], self._forces[1 - side][rows, 0]
        parts = (
            mine,
            self._qvel[side][rows],
            self._seen(own.reshape(len(own), -1)),
            other,
            self._seen(torso),
        )
        seen = np.concatenate(parts, axis=1)
        seen[:, 2] += self.adjust_z
        seen[:, -11] += self.adjust_z
        return seen

    def _seen(self, forces: Floats) -> Floats:
        """Contact forces as they are observed."""
        return np.minimum(forces * forces if self._square else np.abs(forces), STRONGEST)

    def get_state(self) -> dict[str, Any]:
        """Everything that changes from step to step, and the weight of shaping."""
        return {
            "physics": self.simulation.get_state(),
            "contact": self._contact.copy(),
            "elapsed": self.elapsed.copy(),
            "shaping": self.shaping,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""
        self.simulation.set_state(state["physics"])
        self._contact[...] = state["contact"]
        self.elapsed[...] = state["elapsed"]
        self.shaping = state["shaping"]

    def snapshot(self, index: int) -> tuple[Any, Any]:
        """Model and data of one match, for drawing."""
        return self.simulation.snapshot(index)

    def marks(self, index: int) -> list:
        """Nothing but the bodies is drawn."""
        return []
