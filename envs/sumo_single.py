"""Sumo for a single agent: one side is its own, the other an opponent's, which is its task."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.envs.lifetimes import Schedule
from metarl.envs.opponents import Opponents
from metarl.envs.sumo import DEFAULT_PHYSICS, RoboSumo
from metarl.envs.task_distributions import FiniteTasks, Task
from metarl.envs.world import ALL, Floats, Mark, Outcome, Rows
from metarl.envs.wrestlers import MAT_TOP


class RoboSumoSingle:
    """A wrestler that must push an opponent out of the ring, or down; the agent is the first of the pairing.

    Bodies, actions, observations, rewards, ends, and all arguments but those below are those of both sides:
    `help(metarl.envs.sumo.RoboSumo)`.

    ## Tasks
    `{"opponent": 2}`: the number of the opponent in the list `opponent`. Where none is pinned, every match draws one. The
    opponents in `held_out` are for testing; if there are none, both splits hold all.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | opponent | "zero" | one, or a list: "zero" stands still; "random"; a policy with `predict`; a callable |
    | opponent_deterministic | True | whether policies that are opponents act by their mean |
    | held_out | () | numbers of the opponents that are for testing only |

    An opponent sees its own side: `predict(observations, state, episode_start, deterministic)` gets those of the second
    wrestler of the pairing in all n matches, (n, D), and gives actions (n, A) and what it remembers. A callable gets
    observations and gives actions. A policy that samples is not reached by the seed of the environment.

    Ants and bugs that do nothing stand, and have to be pushed. Random ones are easier: they hop out of the ring.
    """

    lifetime: Schedule | None = None

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        pairing: str = "Ant-vs-Ant",
        opponent: Any = "zero",
        opponent_deterministic: bool = True,
        held_out: Sequence[int] = (),
        horizon: int = 500,
        physics: str = DEFAULT_PHYSICS,
        shaping: float = 1.0,
        force_transform: str = "abs",
        tatami_size: float = 2.0,
        noise: float = 0.1,
        adjust_z: float = -MAT_TOP,
        legacy_z: bool = False,
        legacy_501: bool = False,
    ):
        self.match = RoboSumo(
            num,
            num_threads,
            pairing=pairing,
            horizon=horizon,
            physics=physics,
            shaping=shaping,
            force_transform=force_transform,
            tatami_size=tatami_size,
            noise=noise,
            adjust_z=adjust_z,
            legacy_z=legacy_z,
            legacy_501=legacy_501,
        )
        self.num, self.horizon, self.dt = num, self.match.horizon, self.match.dt
        self.simulation, self.view = self.match.simulation, self.match.view
        self.observation_size, self.action_size = self.match.observation_sizes[0], self.match.action_sizes[0]
        size = self.match.action_sizes[1]
        self.opponents = Opponents(opponent, num, size, deterministic=opponent_deterministic)
        numbers = range(len(self.opponents.policies))
        if not set(held_out) <= set(numbers) or (held_out and len(set(held_out)) == len(numbers)):
            raise ValueError(
                f"held_out must be some, not all, of the numbers 0 to {len(numbers) - 1}, got {held_out}"
            )
        self.tasks = FiniteTasks("opponent", tuple(numbers), tuple(held_out))

    @property
    def shaping(self) -> float:
        """Weight of the rewards for trying; may be set at any time."""
        return self.match.shaping

    @shaping.setter
    def shaping(self, weight: float) -> None:
        self.match.shaping = weight

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Take the opponents."""
        self.opponents.take(ids, [int(task["opponent"]) for task in tasks])

    def begin(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """Begin matches."""
        self.match.begin(ids, rngs)
        self.opponents.begin(ids, rngs)

    def advance(self, actions: Floats, ids: NDArray[np.intp] | None) -> Outcome:
        """One control step, in which the opponents act on what they see before it."""
        bout = self.match.advance((actions, self.opponents.act(self.match.observe_side(1))), ids)
        terms = {name: term[:, 0].copy() for name, term in bout.terms.items()}
        diverged = bout.diverged if bout.diverged.any() else None
        return Outcome(terms, bout.terminated, diverged, measures={"outcome": bout.results[:, 0].copy()})

    def observe(self, rows: Rows = ALL) -> Floats:
        """What the agent's side sees, (len(rows), D)."""
        return self.match.observe_side(0, rows)

    def get_state(self) -> dict[str, Any]:
        """The matches and what the opponents remember."""
        return {"match": self.match.get_state(), "opponents": self.opponents.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave; the tasks must have been applied."""
        self.match.set_state(state["match"])
        self.opponents.set_state(state["opponents"])

    def snapshot(self, index: int) -> tuple[Any, Any]:
        """The mujoco model and data to draw match ``index`` from."""
        return self.match.snapshot(index)

    def marks(self, index: int) -> list[Mark]:
        """Nothing but the bodies is drawn."""
        return []
