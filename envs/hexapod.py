"""A six-legged walker that loses the strength of two of its legs."""

import math
from itertools import combinations
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from metarl.envs.bodies import Leg, legged
from metarl.envs.lifetimes import LegFailure
from metarl.envs.simulation import Simulation
from metarl.envs.task_distributions import Task, TaskDistribution, check_split, numbers
from metarl.envs.world import ALL, Floats, Mark, MujocoWorld, Outcome, Rows, View

PAIRS = tuple(combinations(range(1, 7), 2))
TEST_PAIRS = ((1, 2), (3, 4), (5, 6))
PLACES = dict(zip(TEST_PAIRS, ("back", "middle", "front"), strict=True))


def _leg(number: int, x: int, y: int) -> Leg:
    """Leg on the side of the signs of x and y; y 0 for the middle."""
    if y == 0:
        return Leg(str(number), (0.2 * x, 0.0), (0.275 * x, 0.0), (0.55 * x, 0.0))
    return Leg(str(number), (0.18 * x, 0.215 * y), (0.18 * x, 0.215 * y), (0.324 * x, 0.387 * y))


LEGS = tuple(
    _leg(i, x, y) for i, x, y in ((1, 1, 1), (2, -1, 1), (3, -1, 0), (4, 1, 0), (5, -1, -1), (6, 1, -1))
)


class LegPairTasks(TaskDistribution):
    """A pair of legs that fails together, and the share of their torque that is left.

    Of the 15 pairs, the back, the middle and the front one are for testing.
    """

    keys = ("legs", "torque")

    def __init__(self):
        self.rule = {"pairs": [list(pair) for pair in PAIRS], "held_out": [list(pair) for pair in TEST_PAIRS]}

    def _of(self, split: str) -> list[tuple[int, int]]:
        return [pair for pair in PAIRS if split == "all" or (pair in TEST_PAIRS) == (split == "test")]

    def _draw(self, split, rng):
        pairs = self._of(split)
        return {"legs": list(pairs[int(rng.integers(len(pairs)))]), "torque": float(rng.uniform())}

    def _contains(self, task, split):
        return tuple(task["legs"]) in self._of(split)

    def enumerate(self, split: str = "train") -> list[Task]:
        """Every pair of a split once, at full torque."""
        check_split(split)
        return [{"legs": list(pair), "torque": 1.0} for pair in self._of(split)]

    def name(self, task: Task) -> str:
        """Where a pair of opposite legs is: back, middle or front."""
        return PLACES.get(tuple(task["legs"]), "")

    def check(self, task: Task) -> Task:
        """A copy of the task: two different legs of 1 to 6, sorted, and a torque in [0, 1]."""
        task = numbers(task, {"legs": (2,), "torque": ()})
        legs = sorted(task["legs"])
        if tuple(legs) not in PAIRS:
            raise ValueError(f"task['legs'] must be two different legs of 1 to 6, got {task['legs']!r}")
        if not 0 <= task["torque"] <= 1:
            raise ValueError(f"task['torque'] must be in [0, 1], got {task['torque']!r}")
        return {"legs": [int(leg) for leg in legs], "torque": task["torque"]}


class HexapodLegFailure(MujocoWorld):
    """Six-legged walker that must run while two of its legs lose their strength (Al-Shedivat et al. 2018, sec. 4.1).

    ## Body
    A sphere of radius 0.25 m on six legs of two joints each, 2.31 kg in all, built from the paper's description of its
    six-legged agent; physics at 0.01 s with RK4, 5 physics steps for each control step (0.05 s).

    MuJoCo's `implicitfast` is faster, but another body: at 0.01 s it is 3.5 times as fast and a trained policy earns a
    fifth less; at 0.005 s (`time_step=0.005, frame_skip=10`) it is 1.8 times as fast and earns 3 % less, which
    360 episodes can tell from nothing. `benchmarks/hexapod.py` shows it.

    | leg | place | hip at (x, y) |
    |---|---|---|
    | 1 | back left | (0.18, 0.215) |
    | 2 | back right | (-0.18, 0.215) |
    | 3 | middle right | (-0.20, 0) |
    | 4 | middle left | (0.20, 0) |
    | 5 | front right | (-0.18, -0.215) |
    | 6 | front left | (0.18, -0.215) |

    ## Actions
    `Box(-1, 1, (12,), float32)`, clipped to the box: hip and ankle of leg 1, of leg 2, ... of leg 6, 150 N m at 1 each.
    What the two failing legs are sent is multiplied by the task's torque.

    ## Observations
    `Box(-inf, inf, (37,), float64)`. The failing legs are not among them.

    | numbers | quantity | unit |
    |---|---|---|
    | 0-2 | place of the torso along x, y, z | m |
    | 3-6 | orientation of the torso, a quaternion w, x, y, z | |
    | 7-18 | angles of the hip and ankle of legs 1 to 6 | rad |
    | 19-21 | velocity of the torso along x, y, z | m/s |
    | 22-24 | angular velocity of the torso, in its own frame | rad/s |
    | 25-36 | angular velocities of the joints, as above | rad/s |

    ## Reward
    The sum of these, both in info beside `forward_velocity` (m/s):

    * `reward_forward = forward_velocity = (place_after - place_before) . (cos(heading), sin(heading)) / dt`
    * `reward_control = -control_cost * sum(action ** 2)`, the actions as they were asked for

    ## Start, end
    Standing, ankles bent by 50 degrees; positions U(-noise, noise) around that, velocities noise * N(0, 1). Never
    terminated (unless the physics breaks down); truncated after `horizon` steps.

    ## Tasks
    `{"legs": [5, 6], "torque": 0.5}`: the pair that fails and the share of its torque that is left, in [0, 1]. Of the 15
    pairs, back (1, 2), middle (3, 4) and front (5, 6) are for testing. In a lifetime of 7 episodes one pair goes from
    torque 1 to 0 by equal steps.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | horizon | 500 | steps in an episode |
    | heading | -pi/2 | direction in which to run, rad from the x axis; by default where the front legs are |
    | control_cost | 0.1 | weight of the squared actions |
    | noise | 0.1 | spread of the initial state |
    | frame_skip | 5 | physics steps for each control step |
    | integrator | "rk4" | or "implicitfast", "implicit", "euler" |
    | time_step | 0.01 | seconds for each physics step |

    ## Versions
    v0: the paper gives neither horizon, heading, nor the reward's coefficients; these are ours.
    """

    lifetime = LegFailure(7)
    view = View(track="torso", distance=4.5, azimuth=0.0, elevation=-35.0)

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        horizon: int = 500,
        heading: float = -math.pi / 2,
        control_cost: float = 0.1,
        noise: float = 0.1,
        frame_skip: int = 5,
        integrator: str | None = "rk4",
        time_step: float = 0.01,
    ):
        model = legged(LEGS, density=10.0, integrator=integrator, time_step=time_step).compile()
        simulation = Simulation(model, num, frame_skip=frame_skip, num_threads=num_threads)
        self.tasks = LegPairTasks()
        self.heading, self.control_cost = heading, control_cost
        self._forward = np.array([math.cos(heading), math.sin(heading)])
        self.share = np.ones((num, model.nu))
        super().__init__(
            simulation, horizon=horizon, position_noise=noise, velocity_noise=noise, gaussian_velocity=True
        )

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Weaken the legs."""
        self.share[ids] = 1.0
        for index, task in zip(ids, tasks, strict=True):
            for leg in task["legs"]:
                self.share[index, 2 * (leg - 1) : 2 * leg] = task["torque"]

    def controls(self, actions: Floats) -> Floats:
        """Actions times the share of the torque that each motor has left."""
        return actions * self.share

    def observe(self, rows: Rows = ALL) -> Floats:
        """(len(rows), 37)."""
        return np.concatenate([self.simulation.qpos[rows], self.simulation.qvel[rows]], axis=1)

    def judge(self, before: Floats, actions: Floats) -> Outcome:
        """Speed in the direction wanted, less effort."""
        velocity = (self.simulation.qpos[:, :2] - before) @ self._forward / self.dt
        terms = {
            "reward_forward": velocity.copy(),
            "reward_control": -self.control_cost * np.add.reduce(actions * actions, axis=1),
        }
        return Outcome(terms, np.zeros(self.num, np.bool_), measures={"forward_velocity": velocity})

    def marks(self, index: int) -> list[Mark]:
        """An arrow over the body, pointing where it shall run."""
        x, y = self.simulation.qpos[index, :2].tolist()
        return [Mark("arrow", (x, y, 1.0), (0.03, 0.03, 0.8), (0.10, 0.62, 0.47, 1.0), self.heading)]

    def snapshot(self, index: int) -> tuple[Any, Any]:
        """Model and data of one simulation; a leg turns from sand to red as it loses its torque."""
        model, data = super().snapshot(index)
        strong, weak = np.array([0.80, 0.62, 0.35, 1.0]), np.array([0.80, 0.10, 0.10, 1.0])
        for number in range(1, 7):
            share = self.share[index, 2 * number - 1]
            for part in ("shoulder", "thigh", "shank"):
                geom = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, f"{part}_{number}")
                model.geom_rgba[geom] = share * strong + (1 - share) * weak
        return model, data
