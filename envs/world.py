"""What a world is: n simulations of one body, a task each, a reward that exists once."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metarl.envs.lifetimes import Schedule
from metarl.envs.simulation import Simulation
from metarl.envs.task_distributions import Task, TaskDistribution

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp] | slice
ALL = slice(None)


@dataclass
class Outcome:
    """What one control step did to n simulations."""

    terms: dict[str, Floats]
    """Rewards by name, (n,) each; their sum, in this order, is the reward."""
    terminated: Bools
    """(n,) Whether the episode reached a terminal state."""
    diverged: Bools | None = None
    """(n,) Whether the physics broke down, None if nowhere; such an episode is over and earns nothing."""
    measures: dict[str, Floats] = field(default_factory=dict)
    """Further quantities by name, (n,) each, that are no part of the reward."""


@dataclass(frozen=True)
class Mark:
    """Something to draw that is no part of the physics: a goal, an arrow."""

    kind: str
    """``"sphere"``, ``"arrow"``, ``"cylinder"`` or ``"box"``."""
    position: tuple[float, float, float]
    """Centre, or foot of an arrow, in metres."""
    size: tuple[float, float, float]
    """Metres. Sphere and box: half sizes; cylinder: radius, half height, 0; arrow: width, width, length."""
    color: tuple[float, float, float, float]
    """Red, green, blue, opacity, each 0 to 1."""
    heading: float = 0.0
    """Direction in which an arrow points, in radians from the x axis, in the plane of the floor."""


@dataclass(frozen=True)
class View:
    """Where the camera stands."""

    distance: float
    """Metres from what is looked at."""
    azimuth: float = 90.0
    """Degrees around the vertical; at 90 the x axis runs to the right."""
    elevation: float = -20.0
    """Degrees; negative looks down."""
    track: str | None = None
    """Name of the body to follow; None looks at the origin."""


class World(Protocol):
    """What the two faces (:mod:`metarl.envs.faces`) need to know of a world over ``num`` simulations."""

    num: int
    horizon: int
    dt: float
    observation_size: int
    action_size: int
    tasks: TaskDistribution
    lifetime: Schedule | None
    view: View

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Give simulations ``ids`` (sorted) their tasks, one each."""

    def begin(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """Draw a new initial state for simulations ``ids`` (sorted), with one generator each."""

    def advance(self, actions: Floats, ids: NDArray[np.intp] | None) -> Outcome:
        """One control step of ``ids`` (all if None), actions (num, A) in [-1, 1]; other rows mean nothing."""

    def observe(self, rows: Rows = ALL) -> Floats:
        """New array (len(rows), D)."""

    def get_state(self) -> dict[str, Any]:
        """Everything that changes from step to step, except the tasks."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""

    def snapshot(self, index: int) -> tuple[Any, Any]:
        """The mujoco model and data to draw simulation ``index`` from."""

    def marks(self, index: int) -> list[Mark]:
        """What shows the task of simulation ``index`` in a picture."""


def check_horizon(steps: int) -> int:
    """How long an episode may be.

    Raises:
        ValueError: It would have no step.
    """
    if steps < 1:
        raise ValueError(f"horizon must be at least 1 step, got {steps}")
    return steps


def check_range(name: str, bounds: tuple[float, float]) -> tuple[float, float]:
    """The bounds, the lower one first.

    Raises:
        ValueError: They are not in order.
    """
    low, high = bounds
    if not low < high:
        raise ValueError(f"{name} must be (low, high) with low < high, got {bounds}")
    return low, high


def check_positive(name: str, value: float) -> float:
    """The value.

    Raises:
        ValueError: It is not above 0.
    """
    if not value > 0:
        raise ValueError(f"{name} must be above 0, got {value}")
    return value


class MujocoWorld(ABC):
    """A world on MuJoCo: what its worlds share, so that each is only its observation, reward and task."""

    tasks: TaskDistribution
    view: View
    lifetime: Schedule | None = None
    # Set by worlds that observe derived quantities, such as contact forces: new states are forwarded then.
    observes_derived = False

    def __init__(
        self,
        simulation: Simulation,
        *,
        horizon: int,
        position_noise: float,
        velocity_noise: float,
        gaussian_velocity: bool,
    ):
        """Keep what every world has.

        Args:
            simulation: The simulations.
            horizon: Steps after which an episode is truncated.
            position_noise: Initial positions are the body's own plus U(-noise, noise), each.
            velocity_noise: Spread of the initial velocities.
            gaussian_velocity: Whether velocities are noise x N(0, 1), or U(-noise, noise).

        Raises:
            ValueError: If the horizon is not positive or a noise is negative.
        """
        check_horizon(horizon)
        if position_noise < 0 or velocity_noise < 0:
            raise ValueError(f"noise must not be negative, got {position_noise} and {velocity_noise}")
        self.simulation, self.num, self.dt = simulation, simulation.num, simulation.dt
        self.horizon, self.action_size = horizon, simulation.model.nu
        self._noise = (position_noise, velocity_noise, gaussian_velocity)
        self.observation_size = self.observe(np.arange(1)).shape[1]

    @abstractmethod
    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Give simulations ``ids`` their tasks."""

    @abstractmethod
    def observe(self, rows: Rows = ALL) -> Floats:
        """New array (len(rows), D)."""

    @abstractmethod
    def judge(self, before: Floats, actions: Floats) -> Outcome:
        """Rewards and ends of a step, from the state after it.

        Args:
            before: Positions of the root before the step, (num, 2): its first two coordinates.
            actions: (num, A) in [-1, 1].
        """

    def controls(self, actions: Floats) -> Floats:
        """What the motors are sent for actions (num, A): the actions themselves, unless a task comes between."""
        return actions

    def marks(self, index: int) -> list[Mark]:
        """Nothing to show by default."""
        return []

    def begin(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """Draw a new initial state."""
        simulation = self.simulation
        simulation.reset(ids)
        position, velocity, gaussian = self._noise
        nq, nv = simulation.model.nq, simulation.model.nv
        for index, rng in zip(ids, rngs, strict=True):
            simulation.qpos[index] += rng.uniform(-position, position, nq)
            if gaussian:
                simulation.qvel[index] = velocity * rng.standard_normal(nv)
            else:
                simulation.qvel[index] = rng.uniform(-velocity, velocity, nv)
        if self.observes_derived:
            simulation.forward(ids)

    def advance(self, actions: Floats, ids: NDArray[np.intp] | None) -> Outcome:
        """One control step; where the physics diverged the episode ends and nothing is earned."""
        before = self.simulation.qpos[:, :2].copy()
        diverged = self.simulation.step(self.controls(actions), ids)
        outcome = self.judge(before, actions)
        if diverged is not None:
            outcome.diverged = diverged
            outcome.terminated = outcome.terminated | diverged
            for values in (*outcome.terms.values(), *outcome.measures.values()):
                values[diverged] = 0.0
        return outcome

    def get_state(self) -> dict[str, Any]:
        """The physics, (num, nstate)."""
        return {"physics": self.simulation.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put the physics back; the tasks must have been applied."""
        self.simulation.set_state(state["physics"])

    def snapshot(self, index: int) -> tuple[Any, Any]:
        """Model and data of one simulation."""
        return self.simulation.snapshot(index)
