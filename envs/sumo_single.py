"""Sumo as one side meets it: a world whose tasks are opponents."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.envs.contestants import contestant
from metarl.envs.crew import Crew, Player
from metarl.envs.gaits import Gait
from metarl.envs.opponent_tasks import ZERO, OpponentTasks, Versions, read_pool
from metarl.envs.opponents import OpponentPolicy
from metarl.envs.sumo import DEFAULT_PHYSICS, RoboSumo
from metarl.envs.sumo_rules import APPROACH, Result
from metarl.envs.symmetries import Canonical
from metarl.envs.task_distributions import Task
from metarl.envs.world import ALL, Floats, Mark, Outcome, Rows
from metarl.envs.wrestlers import MAT_TOP
from metarl.names import unknown

SCORES = {Result.WIN: 1.0, Result.LOSS: -1.0}
"""What a match counts for, beside 0."""


class RoboSumoSingle:
    """The first wrestler of a pairing against opponents: a match is an episode, an opponent a task.

    Bodies, actions, observations, rewards and rules are those of :class:`metarl.envs.sumo.RoboSumo`, of its first side.
    The opponent acts within the world, by a policy that is read from a pool of opponents (see
    :mod:`metarl.envs.opponent_tasks`), with noise of its own that follows from the seed. `outcome` and the rewards by
    name are in info; `score` is 1 in the step that wins the match, -1 in the one that loses it, else 0.

    ## Tasks
    `{"opponent": "ant", "version": 3}`: whom one meets, and at which stage of its training; `zero`, version 0, stands
    still. Opponents and then versions are drawn uniformly. In a lifetime of the schedule `rising-versions` the opponent
    goes on training from round to round, an iterated adaptation game (Al-Shedivat et al. 2018, sec. 4.2).
    `env.unwrapped.tasks.add(name, version, arrays)` adds an opponent.

    ## Arguments
    Beside those of :class:`metarl.envs.sumo.RoboSumo`:

    | name | default | meaning |
    |---|---|---|
    | opponents | None | folder with a pool of opponents, or `"zoo"`, the package's; those with the second body are met |
    | opponent | () | only these instead of a pool: one or several of `"zero"`, a policy with `predict`, a callable |
    | test_opponents | () | name or names of opponents that are kept for testing; with none, all are there for both |
    | canonical | False | see and act in the frame in which the opponent is always on the same side |

    ## Versions
    v0.
    """

    lifetime = None

    def __init__(
        self,
        num: int = 1,
        num_threads: int | None = None,
        *,
        pairing: str = "Ant-vs-Ant",
        opponents: str | None = None,
        opponent: Player | str | Sequence[Player | str] = (),
        test_opponents: str | Sequence[str] = (),
        canonical: bool = False,
        horizon: int = 500,
        physics: str = DEFAULT_PHYSICS,
        shaping: float = 1.0,
        approach: float = APPROACH,
        retreat: float = 0.0,
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
            approach=approach,
            retreat=retreat,
            force_transform=force_transform,
            tatami_size=tatami_size,
            noise=noise,
            adjust_z=adjust_z,
            legacy_z=legacy_z,
            legacy_501=legacy_501,
        )
        self.num, self.dt, self.horizon = num, self.match.dt, self.match.horizon
        self.view = self.match.view
        self.observation_size, other_size = self.match.observation_sizes
        self.action_size, other_actions = self.match.action_sizes
        given = _given(opponent)
        if given and opponents is not None:
            raise ValueError(
                "expected opponents, the folder of a pool, or opponent, who takes its place, got both"
            )
        held_out = [test_opponents] if isinstance(test_opponents, str) else test_opponents
        pool = given or _of_body(opponents, other_size, other_actions)
        self.tasks = OpponentTasks(pool, held_out, observation_size=other_size, action_size=other_actions)
        self._met: list[Task] = [{"opponent": ZERO, "version": 0}] * num
        own, other = self.match.names
        self.canonical = canonical
        self._frame = Canonical(own)
        self._crew = Crew(num, other_actions, self.horizon, other)

    @property
    def shaping(self) -> float:
        """Weight of the rewards for trying; may be set at any time."""
        return self.match.shaping

    @shaping.setter
    def shaping(self, weight: float) -> None:
        self.match.shaping = weight

    def wrestler(self, name: str) -> dict[str, NDArray[np.float32]] | Gait:
        """The policy of a wrestler that could be this side, as the arrays of an `OpponentPolicy`, or a gait.

        Args:
            name: As `metarl.envs.contestants.contestant` has it, such as `ant@7` of the package's zoo.

        Raises:
            ValueError: There is none, it stands still, has another body, or sees the mat in another frame than this
                world.
        """
        found = contestant(name)
        if found.policy is None or found.body != self.match.names[0]:
            what = "no policy" if found.policy is None else f"the body {found.body}"
            raise ValueError(
                f"'{name}' has {what}, expected the policy of a wrestler with the body {self.match.names[0]}"
            )
        if isinstance(found.policy, Gait):
            return found.policy
        if ("canonical" in found.policy.arrays) is not self.canonical:
            wanted = "true" if not self.canonical else "false"
            raise ValueError(
                f"'{name}' sees the mat in another frame: train with the world option canonical={wanted}"
            )
        return dict(found.policy.arrays)

    def apply(self, ids: NDArray[np.intp], tasks: list[Task]) -> None:
        """Send in the opponents."""
        for index, task in zip(ids.tolist(), tasks, strict=True):
            self._met[index] = task
        self._send_in(ids)

    def _send_in(self, ids: NDArray[np.intp]) -> None:
        self._crew.assign(ids, [self.tasks.player(self._met[index]) for index in ids.tolist()])

    def begin(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """Start matches."""
        self.match.begin(ids, rngs)
        self._send_in(ids)  # anew, because a version may have been replaced
        self._crew.begin(ids, rngs)

    def advance(self, actions: Floats, ids: NDArray[np.intp] | None) -> Outcome:
        """One control step of both sides."""
        reply = self._crew.act(self.match.observe_side(1))
        if self.canonical:
            actions = self._frame.act(actions, self._frame.choose(self.match.toward()))
        bout = self.match.advance((actions, reply), ids)
        outcome = bout.results[:, 0]
        score = np.zeros(self.num)
        for result, points in SCORES.items():
            score[outcome == result] = points
        return Outcome(
            {name: np.ascontiguousarray(term[:, 0]) for name, term in bout.terms.items()},
            bout.terminated,
            bout.diverged if bout.diverged.any() else None,
            {"score": score, "outcome": outcome.copy()},
        )

    def observe(self, rows: Rows = ALL) -> Floats:
        """What the first side sees, (len(rows), D)."""
        seen = self.match.observe_side(0, rows)
        return self._frame.see(seen)[0] if self.canonical else seen

    def get_state(self) -> dict[str, Any]:
        """The match, and what the opponents remember."""
        return {"match": self.match.get_state(), "crew": self._crew.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what `get_state` gave; the tasks must have been applied."""
        self.match.set_state(state["match"])
        self._crew.set_state(state["crew"])

    def snapshot(self, index: int) -> tuple[Any, Any]:
        """Model and data of one match, for drawing."""
        return self.match.snapshot(index)

    def marks(self, index: int) -> list[Mark]:
        """Nothing but the bodies is drawn."""
        return self.match.marks(index)


def _given(opponent: Any) -> dict[str, Versions]:
    """Opponents that were handed over: one is called `opponent`, several `opponent-0`, `opponent-1` ..."""
    several = isinstance(opponent, list | tuple)
    found = {}
    for number, player in enumerate(opponent if several else [opponent]):
        if isinstance(player, str) and player != ZERO:
            raise unknown("opponent", player, [ZERO])
        found[f"opponent-{number}" if several else "opponent"] = {0: None if player == ZERO else player}
    return found


def _of_body(path: str | None, observation_size: int, action_size: int) -> dict[str, Versions]:
    """The opponents of a pool that have a body of these sizes."""
    if path is None:
        return {}
    pool = read_pool(str(path))
    fitting = {
        name: versions
        for name, versions in pool.items()
        if all(
            isinstance(each, OpponentPolicy)
            and (each.observation_size, each.action_size) == (observation_size, action_size)
            for each in versions.values()
        )
    }
    if not fitting:
        raise ValueError(
            f"no opponent in '{path}' has {observation_size} observations and {action_size} actions: "
            f"{', '.join(pool)} have other bodies"
        )
    return fitting
