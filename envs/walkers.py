"""A hopper and a walker whose bodies change: masses, damping and friction differ from task to task."""

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from metarl.envs.bodies import compile_quietly, load
from metarl.envs.simulation import Simulation
from metarl.envs.task_distributions import MultiplierTasks, Task
from metarl.envs.world import ALL, Floats, MujocoWorld, Outcome, Rows, View, check_positive, check_range
from metarl.names import unknown

# What may vary: the mjModel field, and the base of its log-uniform multipliers.
VARIED = {
    "mass": ("body_mass", 1.5),
    "inertia": ("body_inertia", 1.5),
    "damping": ("dof_damping", 1.3),
    "friction": ("geom_friction", 1.5),
}
# Observed velocities are clipped to this range (m/s and rad/s), as in rand_param_envs.
VELOCITY_LIMIT = np.float64(10)
PALE, DARK = np.array([0.99, 0.90, 0.70]), np.array([0.60, 0.16, 0.05])


class _Parameters:
    """Multipliers of a body's parameters, put into each simulation by its task.

    Multipliers are for every body but the world, every joint that is damped, and every geom, the floor too.
    """

    def __init__(self, simulation: Simulation, vary: Sequence[str], limit: float, num_test: int):
        model = simulation.model
        for name in vary:
            if name not in VARIED:
                raise unknown("parameter to vary", name, VARIED)
        if not vary:
            raise ValueError(f"vary is empty: name some of {sorted(VARIED)}")
        self.simulation, self.vary = simulation, tuple(name for name in VARIED if name in vary)
        self._damped = np.flatnonzero(model.dof_damping > 0)
        shapes = {
            "mass": (model.nbody - 1,),
            "inertia": (model.nbody - 1, 3),
            "damping": (len(self._damped),),
            "friction": (model.ngeom, 3),
        }
        chosen = {name: shapes[name] for name in self.vary}
        self.tasks = MultiplierTasks(chosen, {name: VARIED[name][1] for name in self.vary}, limit, num_test)

    def paint(self, model: mujoco.MjModel) -> None:
        """Colour the body parts by their mass: pale when lighter than the model's own, dark when heavier."""
        limit = max(abs(np.log(1.5)) * self.tasks.limit, 1e-9)
        change = np.log(model.body_mass[1:] / self.simulation.model.body_mass[1:]) / limit
        heavy = np.clip((change + 1) / 2, 0, 1)[:, None]
        for geom, body in enumerate(model.geom_bodyid):
            if body > 0:
                model.geom_matid[geom] = -1
                model.geom_rgba[geom, :3] = (1 - heavy[body - 1]) * PALE + heavy[body - 1] * DARK

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Set the parameters of simulations from the model's own values, whatever their last task was."""
        model = self.simulation.model
        factors = {name: np.array([task[name] for task in tasks]) for name in self.vary}
        if "mass" in factors and "inertia" not in factors:  # a body of the same shape and another density
            factors["inertia"] = np.repeat(factors["mass"][:, :, None], 3, axis=2)
        for name, factor in factors.items():
            field = VARIED[name][0]
            full = np.ones((len(ids), *getattr(model, field).shape))
            if name == "damping":
                full[:, self._damped] = factor
            elif name == "friction":
                full[...] = factor
            else:
                full[:, 1:] = factor
            self.simulation.scale(field, ids, full)
        if "inertia" in factors or "mass" in factors:
            self.simulation.refresh(ids)


def _observe(simulation: Simulation, rows: Rows) -> Floats:
    velocity = np.minimum(np.maximum(simulation.qvel[rows], -VELOCITY_LIMIT), VELOCITY_LIMIT)
    return np.concatenate((simulation.qpos[rows, 1:], velocity), axis=1)


def _judge(
    world: "HopperParams | WalkerParams",
    before: Floats,
    actions: Floats,
    heights: tuple[float, float],
    largest_pitch: float,
) -> Outcome:
    """Speed, less effort, and a bonus for being up; over when fallen."""
    qpos = world.simulation.qpos
    velocity = (qpos[:, 0] - before[:, 0]) / world.dt
    terms = {
        "reward_forward": velocity,
        "reward_control": -world.control_cost * np.add.reduce(actions * actions, axis=1),
        "reward_survive": np.full(world.num, world.survive),
    }
    low, high = heights
    healthy = (qpos[:, 1] > low) & (qpos[:, 1] < high) & (np.abs(qpos[:, 2]) < largest_pitch)
    return Outcome(terms, ~healthy, measures={"x_velocity": velocity})


class HopperParams(MujocoWorld):
    """One-legged hopper that must run forward in a body whose parameters change (Rothfuss et al. 2019).

    ## Body
    Gymnasium's hopper (`hopper.xml`), physics at 0.002 s, 4 physics steps for each control step (0.008 s).

    ## Actions
    `Box(-1, 1, (3,), float32)`, clipped to the box, times the gear: torques of thigh_joint, leg_joint and
    foot_joint, 200 N m at 1 each.

    ## Observations
    `Box(-inf, inf, (11,), float64)`. Neither the distance run nor the task is among them.

    | numbers | quantity | unit |
    |---|---|---|
    | 0 | height of the torso | m |
    | 1 | pitch of the torso | rad |
    | 2-4 | angles of thigh_joint, leg_joint, foot_joint | rad |
    | 5-6 | velocity of the torso along x and z, clipped to +-10 | m/s |
    | 7 | angular velocity of the torso, clipped to +-10 | rad/s |
    | 8-10 | angular velocities of the joints, as above, clipped to +-10 | rad/s |

    ## Reward
    The sum of these, all in info beside `x_velocity`: `reward_forward = (x_after - x_before) / dt`,
    `reward_control = -control_cost * sum(action ** 2)`, `reward_survive = survive`.

    ## Start, end
    Positions and velocities U(-noise, noise) around the body's own. Terminated unless the height is in
    `healthy_height` and the absolute pitch below `healthy_pitch`; truncated after `horizon` steps.

    ## Tasks
    Multipliers of the body's own parameters: `{"mass": [4 numbers], "damping": [3], "friction": [5 x 3]}`, in
    the model's order of bodies (torso, thigh, leg, foot), damped joints (thigh, leg, foot) and geoms (floor,
    torso, thigh, leg, foot; sliding, torsional, rolling friction). Each is log-uniform: 1.5 ** U(-3, 3) for
    mass and friction, 1.3 ** U(-3, 3) for damping, 3 being `log_scale_limit`. A body's inertia follows its
    mass; with `"inertia"` in `vary` it is multiplied independently (4 x 3 more numbers), as in the original,
    although no real body may have such an inertia. The test tasks are `num_test` fixed draws; training tasks
    are new draws and never one of these.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | horizon | 200 | steps in an episode |
    | vary | ("mass", "damping", "friction") | parameters that change; also "inertia" |
    | log_scale_limit | 3.0 | largest exponent of a multiplier |
    | num_test | 40 | number of test tasks |
    | control_cost | 0.001 | weight of the squared actions |
    | survive | 1.0 | reward of each step |
    | healthy_height | (0.7, inf) | heights of the torso that go on, m |
    | healthy_pitch | 0.2 | largest absolute pitch that goes on, rad |
    | noise | 0.005 | spread of the initial state |
    | frame_skip | 4 | physics steps for each control step |
    | integrator | "rk4" | the asset's; or "implicitfast", "implicit", "euler" |

    ## Versions
    v0: as HopperRandParams of rand_param_envs and ProMP, on today's MuJoCo, inertia consistent with mass.
    """

    view = View(track="torso", distance=3.6, elevation=-12.0)

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        horizon: int = 200,
        vary: Sequence[str] = ("mass", "damping", "friction"),
        log_scale_limit: float = 3.0,
        num_test: int = 40,
        control_cost: float = 1e-3,
        survive: float = 1.0,
        healthy_height: tuple[float, float] = (0.7, float("inf")),
        healthy_pitch: float = 0.2,
        noise: float = 0.005,
        frame_skip: int = 4,
        integrator: str | None = "rk4",
    ):
        model = compile_quietly(load("hopper.xml", integrator))
        simulation = Simulation(model, num, frame_skip=frame_skip, num_threads=num_threads)
        self._parameters = _Parameters(simulation, vary, log_scale_limit, num_test)
        self.tasks = self._parameters.tasks
        self.control_cost, self.survive = control_cost, survive
        self.healthy_height = check_range("healthy_height", healthy_height)
        self.healthy_pitch = check_positive("healthy_pitch", healthy_pitch)
        super().__init__(
            simulation, horizon=horizon, position_noise=noise, velocity_noise=noise, gaussian_velocity=False
        )

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Change the bodies."""
        self._parameters.apply(ids, tasks)

    def observe(self, rows: Rows = ALL) -> Floats:
        """(len(rows), 11)."""
        return _observe(self.simulation, rows)

    def judge(self, before: Floats, actions: Floats) -> Outcome:
        """Speed, effort, being up."""
        return _judge(self, before, actions, self.healthy_height, self.healthy_pitch)

    def snapshot(self, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of one simulation, its parts coloured by their mass."""
        model, data = super().snapshot(index)
        self._parameters.paint(model)
        return model, data


class WalkerParams(MujocoWorld):
    """Two-legged walker that must run forward in a body whose parameters change (Rothfuss et al. 2019).

    ## Body
    Gymnasium's walker (`walker2d_v5.xml`), physics at 0.002 s, 4 physics steps for each control step (0.008
    s).

    ## Actions
    `Box(-1, 1, (6,), float32)`, clipped to the box, times the gear: torques of thigh_joint, leg_joint,
    foot_joint, thigh_left_joint, leg_left_joint and foot_left_joint, 100 N m at 1 each.

    ## Observations
    `Box(-inf, inf, (17,), float64)`. Neither the distance run nor the task is among them.

    | numbers | quantity | unit |
    |---|---|---|
    | 0 | height of the torso | m |
    | 1 | pitch of the torso | rad |
    | 2-7 | angles of the joints, in the order of the actions | rad |
    | 8-9 | velocity of the torso along x and z, clipped to +-10 | m/s |
    | 10 | angular velocity of the torso, clipped to +-10 | rad/s |
    | 11-16 | angular velocities of the joints, clipped to +-10 | rad/s |

    ## Reward, start, end
    As :class:`HopperParams`.

    ## Tasks
    As :class:`HopperParams`, with 7 bodies (torso, thigh, leg, foot, thigh_left, leg_left, foot_left), 6
    damped joints and 8 geoms (floor, then one for each body).

    ## Arguments
    As :class:`HopperParams`, but `healthy_height` (0.8, 2.0) m and `healthy_pitch` 1.0 rad.

    ## Versions
    v0: as Walker2DRandParams of rand_param_envs and ProMP, on today's MuJoCo, inertia consistent with mass,
    both feet of equal friction.
    """

    view = View(track="torso", distance=4.0, elevation=-12.0)

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        horizon: int = 200,
        vary: Sequence[str] = ("mass", "damping", "friction"),
        log_scale_limit: float = 3.0,
        num_test: int = 40,
        control_cost: float = 1e-3,
        survive: float = 1.0,
        healthy_height: tuple[float, float] = (0.8, 2.0),
        healthy_pitch: float = 1.0,
        noise: float = 0.005,
        frame_skip: int = 4,
        integrator: str | None = "rk4",
    ):
        model = compile_quietly(load("walker2d_v5.xml", integrator))
        simulation = Simulation(model, num, frame_skip=frame_skip, num_threads=num_threads)
        self._parameters = _Parameters(simulation, vary, log_scale_limit, num_test)
        self.tasks = self._parameters.tasks
        self.control_cost, self.survive = control_cost, survive
        self.healthy_height = check_range("healthy_height", healthy_height)
        self.healthy_pitch = check_positive("healthy_pitch", healthy_pitch)
        super().__init__(
            simulation, horizon=horizon, position_noise=noise, velocity_noise=noise, gaussian_velocity=False
        )

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Change the bodies."""
        self._parameters.apply(ids, tasks)

    def observe(self, rows: Rows = ALL) -> Floats:
        """(len(rows), 17)."""
        return _observe(self.simulation, rows)

    def judge(self, before: Floats, actions: Floats) -> Outcome:
        """Speed, effort, being up."""
        return _judge(self, before, actions, self.healthy_height, self.healthy_pitch)

    def snapshot(self, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of one simulation, its parts coloured by their mass."""
        model, data = super().snapshot(index)
        self._parameters.paint(model)
        return model, data
