"""A point in the plane that is told, by its reward alone, where to go."""

from functools import cached_property
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from metarl.envs.bodies import add_scenery
from metarl.envs.task_distributions import GridTasks, Task
from metarl.envs.world import ALL, Bools, Floats, Mark, Outcome, Rows, View, check_positive


class PointNavigation:
    """Point that must find a goal; only the reward, its distance, tells where it is (Finn et al. 2017).

    ## Actions
    `Box(-1, 1, (2,), float32)`, clipped to the box: the step along x and y, in units of `step_size` metres.

    ## Observations
    `Box(-inf, inf, (2,), float64)`: position along x and y in metres. The goal is not among them.

    ## Reward
    `reward_distance`, the only term: minus the Euclidean distance to the goal after the step, in metres.

    ## Start, end
    Starts at the origin. Terminated when the point is less than `tolerance` from the goal along x and along
    y alike; truncated after `horizon` steps.

    ## Tasks
    `{"goal": [x, y]}` in metres, uniform in the square of half side `goal_range` around the origin. The
    square is cut into 10 x 10 cells; the 20 cells (i, j) with `(i + 2 j) % 5 == 2`, spread evenly, are for
    testing.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | horizon | 100 | steps in an episode |
    | goal_range | 0.5 | half the side of the square of goals, m |
    | step_size | 0.1 | largest step along x and y, m |
    | tolerance | 0.01 | how near is there, m |

    ## Versions
    v0: as Finn et al. (2017), except that actions are in units of the largest step; there they were metres,
    clipped to +-0.1.
    """

    dt = 0.1
    observation_size = 2
    action_size = 2
    lifetime = None
    view = View(distance=1.9, azimuth=90.0, elevation=-55.0)

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        horizon: int = 100,
        goal_range: float = 0.5,
        step_size: float = 0.1,
        tolerance: float = 0.01,
    ):
        for name, value in (("num_envs", num), ("horizon", horizon)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.num, self.horizon = num, horizon
        self.step_size = check_positive("step_size", step_size)
        self.tolerance = check_positive("tolerance", tolerance)
        self.goal_range = goal_range
        self.tasks = GridTasks("goal", goal_range)
        self.position = np.zeros((num, 2))
        self.goal = np.zeros((num, 2))

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Take the goals."""
        self.goal[ids] = [task["goal"] for task in tasks]

    def begin(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """Back to the origin; nothing is drawn."""
        self.position[ids] = 0.0

    def advance(self, actions: Floats, ids: NDArray[np.intp] | None) -> Outcome:
        """Move, and look how far the goal is."""
        rows = ALL if ids is None else ids
        self.position[rows] += self.step_size * actions[rows]
        away = self.position - self.goal
        there: Bools = (np.abs(away) < self.tolerance).all(axis=1)
        return Outcome({"reward_distance": -np.sqrt(np.add.reduce(away * away, axis=1))}, there)

    def observe(self, rows: Rows = ALL) -> Floats:
        """(len(rows), 2)."""
        return self.position[rows].copy()

    def get_state(self) -> dict[str, Any]:
        """Positions, (num, 2)."""
        return {"position": self.position.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put the positions back."""
        self.position[...] = state["position"]

    @cached_property
    def _scene(self) -> tuple[Any, Any]:
        spec = mujoco.MjSpec()
        floor = spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[4, 4, 1])
        add_scenery(spec)
        floor.pos = [0, 0, 0]
        spec.material("metarl_floor").texrepeat = [5, 5]
        ball = spec.worldbody.add_body(name="point", mocap=True, pos=[0, 0, 0.035])
        ball.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.035, 0, 0], rgba=[0.20, 0.40, 0.75, 1])
        model = spec.compile()
        return model, mujoco.MjData(model)

    def snapshot(self, index: int) -> tuple[Any, Any]:
        """A small scene with the point in it."""
        model, data = self._scene
        data.mocap_pos[0, :2] = self.position[index]
        mujoco.mj_forward(model, data)
        return model, data

    def marks(self, index: int) -> list[Mark]:
        """The goal as a disc and a ball over it, and the square that goals come from."""
        x, y = self.goal[index].tolist()
        green, half = (0.10, 0.62, 0.47, 1.0), self.goal_range
        edges = [((0, s * half), (half, 0.004)) for s in (-1, 1)] + [
            ((s * half, 0), (0.004, half)) for s in (-1, 1)
        ]
        frame = [Mark("box", (*at, 0.002), (*size, 0.002), (0.95, 0.95, 0.95, 1)) for at, size in edges]
        return [
            *frame,
            Mark("cylinder", (x, y, 0.003), (0.05, 0.002, 0.0), green),
            Mark("sphere", (x, y, 0.035), (0.025, 0.025, 0.025), (*green[:3], 0.8)),
        ]
