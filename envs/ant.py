"""A four-legged ant that is told, by its reward alone, which way or where to go."""

import mujoco
import numpy as np
from numpy.typing import NDArray

from metarl.envs.bodies import compile_quietly, load
from metarl.envs.simulation import Simulation
from metarl.envs.task_distributions import FiniteTasks, SectorTasks, Task
from metarl.envs.world import ALL, Floats, Mark, MujocoWorld, Outcome, Rows, View, check_range

GREEN, ORANGE = (0.10, 0.62, 0.47, 1.0), (0.85, 0.37, 0.01, 1.0)


def ant_model(integrator: str | None, time_step: float | None) -> mujoco.MjModel:
    """Gymnasium's ant with an accelerometer, which makes MuJoCo compute contact forces as it steps."""
    spec = load("ant.xml", integrator, time_step)
    spec.body("torso").add_site(name="torso")
    spec.add_sensor(
        name="torso",
        type=mujoco.mjtSensor.mjSENS_ACCELEROMETER,
        objtype=mujoco.mjtObj.mjOBJ_SITE,
        objname="torso",
    )
    return compile_quietly(spec)


class _Ant:
    """The body that both ant worlds are about."""

    def __init__(
        self,
        num: int,
        num_threads: int | None,
        frame_skip: int,
        integrator: str | None,
        time_step: float | None,
        contact_range: tuple[float, float],
    ):
        low, high = check_range("contact_range", contact_range)
        model = ant_model(integrator, time_step)
        self.simulation = Simulation(model, num, frame_skip=frame_skip, num_threads=num_threads)
        self._forces = self.simulation.bind("cfrc_ext").reshape(num, -1)
        self._range = np.float64(low), np.float64(high)

    def contacts(self, rows: Rows = ALL) -> Floats:
        """Contact forces and torques on the bodies, clipped, (len(rows), 84)."""
        low, high = self._range
        return np.minimum(np.maximum(self._forces[rows], low), high)

    def observe(self, rows: Rows, first: int, contacts: bool) -> Floats:
        """Positions from the ``first`` on, velocities, and contacts if wanted."""
        parts = [self.simulation.qpos[rows, first:], self.simulation.qvel[rows]]
        if contacts:
            parts.append(self.contacts(rows))
        return np.concatenate(parts, axis=1)

    def contact_reward(self, weight: float) -> Floats:
        """Minus the weighted squares of all contact forces, (num,)."""
        forces = self.contacts()
        return -weight * np.add.reduce(forces * forces, axis=1)


class AntDir(MujocoWorld):
    """Ant that must run forward or backward; only the reward tells which (Finn et al. 2017, sec. 5.3).

    ## Body
    Gymnasium's ant (`ant.xml`): a sphere with four legs of two joints each, physics at 0.01 s, 5 physics
    steps for each control step (0.05 s). The asset integrates with RK4; the default here is MuJoCo's
    `implicitfast` at the same time step, about 3.5 times as fast. That damps fast motion: it is another ant,
    on which the same gait may run half as far, so scores under the two are not to be compared.
    `integrator="rk4"` is Ant-v5's own physics; `time_step=0.005, frame_skip=10` brings `implicitfast` near.

    ## Actions
    `Box(-1, 1, (8,), float32)`, clipped to the box, times the gear:

    | number | joint | torque at 1 (N m) |
    |---|---|---|
    | 0, 1 | hip_4, ankle_4: back right leg | 150 |
    | 2, 3 | hip_1, ankle_1: front left leg | 150 |
    | 4, 5 | hip_2, ankle_2: front right leg | 150 |
    | 6, 7 | hip_3, ankle_3: back left leg | 150 |

    ## Observations
    `Box(-inf, inf, (111,), float64)`, or 27 numbers with `contact_obs=False`. Neither the place nor the
    direction wanted is among them.

    | numbers | quantity | unit |
    |---|---|---|
    | 0 | height of the torso | m |
    | 1-4 | orientation of the torso, a quaternion w, x, y, z | |
    | 5-12 | angles of hip_1, ankle_1, hip_2, ankle_2, hip_3, ankle_3, hip_4, ankle_4 | rad |
    | 13-15 | velocity of the torso along x, y, z | m/s |
    | 16-18 | angular velocity of the torso, in its own frame | rad/s |
    | 19-26 | angular velocities of the joints, as above | rad/s |
    | 27-110 | `cfrc_ext`: contact torque and force on each of 14 bodies, clipped | N m, N |

    The first six contact numbers are those of the floor, always 0.

    ## Reward
    The sum of these, all in info beside `x_velocity`:

    * `reward_forward = direction * (x_after - x_before) / dt`
    * `reward_control = -control_cost * sum(action ** 2)`
    * `reward_contact = -contact_cost * sum(contacts ** 2)`, contacts as observed
    * `reward_survive = survive`

    ## Start, end
    Positions U(-position_noise, position_noise) around the body's own, velocities velocity_noise * N(0, 1).
    Terminated when the height of the torso leaves `healthy_height`; truncated after `horizon` steps.

    ## Tasks
    `{"direction": 1.0}` forward, `{"direction": -1.0}` backward. There are only these two, so nothing can be
    held out: both splits hold both, `tasks.disjoint` is False, and results on it speak of adapting, not of
    generalising.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | horizon | 200 | steps in an episode |
    | control_cost | 0.5 | weight of the squared actions |
    | contact_cost | 0.0005 | weight of the squared contact forces |
    | contact_range | (-1, 1) | contact forces are clipped to it |
    | contact_obs | True | whether contact forces are observed |
    | survive | 1.0 | reward of each step |
    | healthy_height | (0.0, 1.0) | heights of the torso that go on, m |
    | position_noise, velocity_noise | 0.1, 0.1 | spread of the initial state |
    | frame_skip | 5 | physics steps for each control step |
    | integrator | "implicitfast" | or "rk4", "euler", "implicit" |
    | time_step | 0.01 | seconds for each physics step |

    ## Versions
    v0: as AntRandDirec of ProMP (Rothfuss et al. 2019), on today's MuJoCo and integrator. Contact forces are
    those at the beginning of the last physics step, as MuJoCo computes them while stepping.
    """

    tasks = FiniteTasks("direction", (1.0, -1.0))
    view = View(track="torso", distance=5.0, elevation=-25.0)

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        horizon: int = 200,
        control_cost: float = 0.5,
        contact_cost: float = 5e-4,
        contact_range: tuple[float, float] = (-1.0, 1.0),
        contact_obs: bool = True,
        survive: float = 1.0,
        healthy_height: tuple[float, float] = (0.0, 1.0),
        position_noise: float = 0.1,
        velocity_noise: float = 0.1,
        frame_skip: int = 5,
        integrator: str | None = "implicitfast",
        time_step: float = 0.01,
    ):
        self._ant = _Ant(num, num_threads, frame_skip, integrator, time_step, contact_range)
        self.control_cost, self.contact_cost, self.survive = control_cost, contact_cost, survive
        self.observes_derived = contact_obs
        self.healthy_height = check_range("healthy_height", healthy_height)
        self.direction = np.ones(num)
        super().__init__(
            self._ant.simulation,
            horizon=horizon,
            position_noise=position_noise,
            velocity_noise=velocity_noise,
            gaussian_velocity=True,
        )

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Take the directions."""
        self.direction[ids] = [task["direction"] for task in tasks]

    def observe(self, rows: Rows = ALL) -> Floats:
        """(len(rows), 111), or 27 without contact forces."""
        return self._ant.observe(rows, 2, self.observes_derived)

    def judge(self, before: Floats, actions: Floats) -> Outcome:
        """Speed in the direction wanted, less effort and impacts, and a bonus for being up."""
        qpos = self.simulation.qpos
        velocity = (qpos[:, 0] - before[:, 0]) / self.dt
        terms = {
            "reward_forward": self.direction * velocity,
            "reward_control": -self.control_cost * np.add.reduce(actions * actions, axis=1),
            "reward_contact": self._ant.contact_reward(self.contact_cost),
            "reward_survive": np.full(self.num, self.survive),
        }
        low, high = self.healthy_height
        terminated = (qpos[:, 2] < low) | (qpos[:, 2] > high)
        return Outcome(terms, terminated, measures={"x_velocity": velocity})

    def marks(self, index: int) -> list[Mark]:
        """An arrow over the ant, pointing where it shall run."""
        x, y = self.simulation.qpos[index, :2].tolist()
        forward = self.direction[index] > 0
        color, heading = (GREEN, 0.0) if forward else (ORANGE, np.pi)
        return [Mark("arrow", (x, y, 1.3), (0.04, 0.04, 1.2), color, heading)]


class AntGoal(MujocoWorld):
    """Ant that must go to a place; only the reward, its distance, tells where (Rothfuss et al. 2019).

    Body, actions and start are those of :class:`AntDir`.

    ## Observations
    `Box(-inf, inf, (113,), float64)`, or 29 numbers with `contact_obs=False`: the place of the torso along x
    and y in metres, then what :class:`AntDir` observes. The goal is not among them.

    ## Reward
    The sum of these, all in info beside `distance` (Euclidean, m):

    * `reward_goal = -(abs(x - goal_x) + abs(y - goal_y))`, after the step
    * `reward_control = -control_cost * sum(action ** 2)`
    * `reward_contact = -contact_cost * sum(contacts ** 2)`, contacts as observed

    ## End
    Never terminated; truncated after `horizon` steps.

    ## Tasks
    `{"goal": [x, y]}` in metres, uniform in area on the disc of radius `goal_radius` around the origin. Of 20
    equal sectors, counted anticlockwise from the x axis, sectors 2, 7, 12 and 17 are for testing: directions
    that no training task has.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | horizon | 200 | steps in an episode |
    | goal_radius | 3.0 | radius of the disc of goals, m |
    | control_cost | 0.1 | weight of the squared actions |
    | contact_cost | 0.0005 | weight of the squared contact forces |
    | contact_range | (-1, 1) | contact forces are clipped to it |
    | contact_obs | True | whether contact forces are observed |
    | position_noise, velocity_noise | 0.1, 0.1 | spread of the initial state |
    | frame_skip | 5 | physics steps for each control step |
    | integrator | "implicitfast" | or "rk4", "euler", "implicit" |
    | time_step | 0.01 | seconds for each physics step |

    ## Versions
    v0: as AntRandGoal of ProMP, on today's MuJoCo and integrator.
    """

    view = View(distance=8.5, elevation=-45.0)

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        horizon: int = 200,
        goal_radius: float = 3.0,
        control_cost: float = 0.1,
        contact_cost: float = 5e-4,
        contact_range: tuple[float, float] = (-1.0, 1.0),
        contact_obs: bool = True,
        position_noise: float = 0.1,
        velocity_noise: float = 0.1,
        frame_skip: int = 5,
        integrator: str | None = "implicitfast",
        time_step: float = 0.01,
    ):
        self._ant = _Ant(num, num_threads, frame_skip, integrator, time_step, contact_range)
        self.tasks = SectorTasks("goal", goal_radius)
        self.control_cost, self.contact_cost, self.observes_derived = control_cost, contact_cost, contact_obs
        self.goal = np.zeros((num, 2))
        super().__init__(
            self._ant.simulation,
            horizon=horizon,
            position_noise=position_noise,
            velocity_noise=velocity_noise,
            gaussian_velocity=True,
        )

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Take the goals."""
        self.goal[ids] = [task["goal"] for task in tasks]

    def observe(self, rows: Rows = ALL) -> Floats:
        """(len(rows), 113), or 29 without contact forces."""
        return self._ant.observe(rows, 0, self.observes_derived)

    def judge(self, before: Floats, actions: Floats) -> Outcome:
        """Nearness to the goal, less effort and impacts."""
        away = self.simulation.qpos[:, :2] - self.goal
        terms = {
            "reward_goal": -np.add.reduce(np.abs(away), axis=1),
            "reward_control": -self.control_cost * np.add.reduce(actions * actions, axis=1),
            "reward_contact": self._ant.contact_reward(self.contact_cost),
        }
        distance = np.sqrt(np.add.reduce(away * away, axis=1))
        return Outcome(terms, np.zeros(self.num, np.bool_), measures={"distance": distance})

    def marks(self, index: int) -> list[Mark]:
        """The goal: a disc and a ball over it."""
        x, y = self.goal[index].tolist()
        disc = Mark("cylinder", (x, y, 0.01), (0.35, 0.01, 0.0), (*GREEN[:3], 0.8))
        return [disc, Mark("sphere", (x, y, 0.25), (0.15, 0.15, 0.15), GREEN)]
