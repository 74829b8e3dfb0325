"""A planar cheetah that is told, by its reward alone, where or how fast to run."""

import numpy as np
from numpy.typing import NDArray

from metarl.envs.bodies import compile_quietly, load
from metarl.envs.simulation import Simulation
from metarl.envs.task_distributions import FiniteTasks, IntervalTasks, Task
from metarl.envs.world import ALL, Floats, Mark, MujocoWorld, Outcome, Rows, View

VIEW = View(track="torso", distance=3.6, elevation=-12.0)


def _simulate(num: int, num_threads: int | None, frame_skip: int, integrator: str | None) -> Simulation:
    model = compile_quietly(load("half_cheetah.xml", integrator))
    return Simulation(model, num, frame_skip=frame_skip, num_threads=num_threads)


def _observe(simulation: Simulation, rows: Rows) -> Floats:
    """Everything but the distance run: positions from the second on, then velocities, (len(rows), 17)."""
    return np.concatenate((simulation.qpos[rows, 1:], simulation.qvel[rows]), axis=1)


def _effort(actions: Floats, weight: float) -> Floats:
    return -weight * np.add.reduce(actions * actions, axis=1)


class CheetahDir(MujocoWorld):
    """Half-cheetah that must run forward or backward; only the reward tells which (Finn et al. 2017).

    ## Body
    Gymnasium's half-cheetah (`half_cheetah.xml`): a planar torso with a hind and a fore leg, 14 kg, physics
    at 0.01 s, 5 physics steps for each control step (0.05 s).

    ## Actions
    `Box(-1, 1, (6,), float32)`, clipped to the box, times the gear:

    | number | joint | torque at 1 (N m) |
    |---|---|---|
    | 0 | bthigh, hind thigh | 120 |
    | 1 | bshin, hind shin | 90 |
    | 2 | bfoot, hind foot | 60 |
    | 3 | fthigh, fore thigh | 120 |
    | 4 | fshin, fore shin | 60 |
    | 5 | ffoot, fore foot | 30 |

    ## Observations
    `Box(-inf, inf, (17,), float64)`. Neither the distance run nor the direction wanted is among them.

    | numbers | quantity | unit |
    |---|---|---|
    | 0 | height of the torso, from its initial height | m |
    | 1 | pitch of the torso | rad |
    | 2-7 | angles of bthigh, bshin, bfoot, fthigh, fshin, ffoot | rad |
    | 8-9 | velocity of the torso along x and z | m/s |
    | 10 | angular velocity of the torso | rad/s |
    | 11-16 | angular velocities of the six joints, as above | rad/s |

    ## Reward
    `reward_forward + reward_control`, both in info beside `x_velocity`, with
    `reward_forward = direction * (x_after - x_before) / dt` and
    `reward_control = -control_cost * sum(action ** 2)`.

    ## Start, end
    Positions U(-position_noise, position_noise) around the body's own, velocities velocity_noise * N(0, 1).
    Never terminated; truncated after `horizon` steps.

    ## Tasks
    `{"direction": 1.0}` forward, `{"direction": -1.0}` backward. There are only these two, so nothing can
    be held out: both splits hold both, `tasks.disjoint` is False, and results on it speak of adapting, not of
    generalising.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | horizon | 100 | steps in an episode |
    | control_cost | 0.05 | weight of the squared actions |
    | position_noise, velocity_noise | 0.1, 0.1 | spread of the initial state |
    | frame_skip | 5 | physics steps for each control step |
    | integrator | "euler" | the asset's; or "implicitfast", "implicit", "rk4" |

    ## Versions
    v0: as HalfCheetahRandDirec of ProMP (Rothfuss et al. 2019), on today's MuJoCo.
    """

    tasks = FiniteTasks("direction", (1.0, -1.0))
    view = VIEW

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        horizon: int = 100,
        control_cost: float = 0.05,
        position_noise: float = 0.1,
        velocity_noise: float = 0.1,
        frame_skip: int = 5,
        integrator: str | None = "euler",
    ):
        super().__init__(
            _simulate(num, num_threads, frame_skip, integrator),
            horizon=horizon,
            position_noise=position_noise,
            velocity_noise=velocity_noise,
            gaussian_velocity=True,
        )
        self.control_cost = control_cost
        self.direction = np.ones(num)

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Take the directions."""
        self.direction[ids] = [task["direction"] for task in tasks]

    def observe(self, rows: Rows = ALL) -> Floats:
        """(len(rows), 17)."""
        return _observe(self.simulation, rows)

    def judge(self, before: Floats, actions: Floats) -> Outcome:
        """Speed in the direction wanted, less effort."""
        velocity = (self.simulation.qpos[:, 0] - before[:, 0]) / self.dt
        terms = {
            "reward_forward": self.direction * velocity,
            "reward_control": _effort(actions, self.control_cost),
        }
        return Outcome(terms, np.zeros(self.num, np.bool_), measures={"x_velocity": velocity})

    def marks(self, index: int) -> list[Mark]:
        """An arrow over the cheetah, pointing where it shall run."""
        return [_arrow(self.simulation.qpos[index, 0], 0.5 * self.direction[index])]


class CheetahVel(MujocoWorld):
    """Half-cheetah that must run at a speed that only the reward tells (Finn et al. 2017, sec. 5.3).

    Body, actions, observations, start and end are those of :class:`CheetahDir`.

    ## Reward
    `reward_velocity + reward_control`, both in info beside `x_velocity`, with
    `reward_velocity = -abs((x_after - x_before) / dt - velocity)` and
    `reward_control = -control_cost * sum(action ** 2)`.

    ## Tasks
    `{"velocity": v}` in m/s, v uniform on [0, max_velocity). The range is cut into 30 cells (0.1 m/s each at
    the default); cells 2, 7, 12, ... 27 are for testing: 0.2-0.3, 0.7-0.8, ... 2.7-2.8 m/s. So a fifth of the
    range is held out, evenly, and testing is interpolation.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | horizon | 200 | steps in an episode |
    | max_velocity | 3.0 | upper end of the range of speeds, m/s |
    | control_cost | 0.05 | weight of the squared actions |
    | position_noise, velocity_noise | 0.1, 0.1 | spread of the initial state |
    | frame_skip | 5 | physics steps for each control step |
    | integrator | "euler" | the asset's; or "implicitfast", "implicit", "rk4" |

    ## Versions
    v0: as HalfCheetahRandVel of ProMP (Rothfuss et al. 2019), on today's MuJoCo. Others draw v from [0, 2).
    """

    view = VIEW

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        horizon: int = 200,
        max_velocity: float = 3.0,
        control_cost: float = 0.05,
        position_noise: float = 0.1,
        velocity_noise: float = 0.1,
        frame_skip: int = 5,
        integrator: str | None = "euler",
    ):
        super().__init__(
            _simulate(num, num_threads, frame_skip, integrator),
            horizon=horizon,
            position_noise=position_noise,
            velocity_noise=velocity_noise,
            gaussian_velocity=True,
        )
        self.tasks = IntervalTasks("velocity", 0.0, max_velocity)
        self.control_cost = control_cost
        self.velocity = np.zeros(num)

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Take the speeds."""
        self.velocity[ids] = [task["velocity"] for task in tasks]

    def observe(self, rows: Rows = ALL) -> Floats:
        """(len(rows), 17)."""
        return _observe(self.simulation, rows)

    def judge(self, before: Floats, actions: Floats) -> Outcome:
        """How far the speed is from the one wanted, less effort."""
        velocity = (self.simulation.qpos[:, 0] - before[:, 0]) / self.dt
        terms = {
            "reward_velocity": -np.abs(velocity - self.velocity),
            "reward_control": _effort(actions, self.control_cost),
        }
        return Outcome(terms, np.zeros(self.num, np.bool_), measures={"x_velocity": velocity})

    def marks(self, index: int) -> list[Mark]:
        """An arrow over the cheetah, as long as the speed wanted."""
        return [_arrow(self.simulation.qpos[index, 0], 0.35 * self.velocity[index])]


def _arrow(x: float, length: float) -> Mark:
    """An arrow above the cheetah; a negative length points backward."""
    color = (0.10, 0.62, 0.47, 1.0) if length >= 0 else (0.85, 0.37, 0.01, 1.0)
    heading = 0.0 if length >= 0 else np.pi
    return Mark("arrow", (float(x), 0.0, 1.35), (0.03, 0.03, 2 * abs(length)), color, heading)
