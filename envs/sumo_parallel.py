"""A match of sumo as a PettingZoo `ParallelEnv`."""

from typing import Any

import gymnasium
import numpy as np
from pettingzoo import ParallelEnv

from metarl.envs import faces
from metarl.envs.sumo_matches import MatchStep, SumoMatches
from metarl.envs.sumo_rules import SHAPING, Result
from metarl.envs.world import check_horizon

AGENTS = ("agent_0", "agent_1")
OUTCOMES = {
    Result.NONE: None,
    Result.WIN: "win",
    Result.LOSS: "loss",
    Result.DRAW: "draw",
    Result.BOTH_LOST: "both_lost",
}
ORIGINAL = {
    "reward_control": "ctrl_reward",
    "reward_approach": "move_to_opp_reward",
    "reward_push": "push_opp_reward",
    "reward_win": "win_reward",
    "reward_lose": "lose_penalty",
}
"""What the released world of Al-Shedivat et al. 2018 calls the rewards."""


class SumoParallelEnv(ParallelEnv):
    """A match of sumo, with both sides open; see :class:`metarl.envs.sumo.RoboSumo` for all about it.

    Made by :func:`parallel_env`. ``agent_0`` is the first of the pairing. Both agents end together: terminated if either
    or both have lost; truncated by a draw.

    Each agent's info has the rewards by name, as in every face of this world (``reward_win`` ...), and under the names of
    the released world: ``ctrl_reward``, ``move_to_opp_reward``, ``push_opp_reward``, ``shaping_reward`` (their sum),
    ``lose_penalty``, ``win_reward``, ``main_reward`` (those two and the draw's), ``winner`` (True where the opponent has
    lost, also if both have; else not there). ``outcome`` is ``"win"``, ``"loss"``, ``"draw"``, ``"both_lost"`` or None;
    ``diverged`` says whether the physics broke down.

    Args:
        pairing: Such as ``"Ant-vs-Bug"``.
        render_mode: ``"rgb_array"``, ``"human"`` or None.
        width: Width of a picture in pixels.
        height: Height of a picture in pixels.
        **arguments: Those of :class:`metarl.envs.sumo.RoboSumo`.

    Attributes:
        max_cycles: Steps after which a match is a draw, counted as the horizon is.
        shaping: Weight of the rewards for trying; may be set at any time.
    """

    metadata = {"name": "robosumo_v0", "render_modes": list(faces.RENDER_MODES), "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        pairing: str = "Ant-vs-Ant",
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        **arguments: Any,
    ):
        faces.check_render_mode(render_mode)
        self._arguments = dict(
            pairing=pairing, render_mode=render_mode, width=width, height=height, **arguments
        )
        self._matches = SumoMatches(
            pairing, 1, autoreset=False, num_threads=1, width=width, height=height, **arguments
        )
        self.render_mode = render_mode
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.observation_spaces = dict(zip(AGENTS, self._matches.observation_spaces, strict=True))
        self.action_spaces = dict(zip(AGENTS, self._matches.action_spaces, strict=True))

    @property
    def max_cycles(self) -> int:
        """Steps after which a match is a draw."""
        return self._matches.world.horizon

    @max_cycles.setter
    def max_cycles(self, steps: int) -> None:
        self._matches.world.horizon = check_horizon(steps)

    @property
    def shaping(self) -> float:
        """Weight of the rewards for trying."""
        return self._matches.world.shaping

    @shaping.setter
    def shaping(self, weight: float) -> None:
        self._matches.world.shaping = weight

    def observation_space(self, agent: str):
        """Always the same object for an agent."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str):
        """Always the same object for an agent."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict | None = None):
        """Begin a match.

        Args:
            seed: Starts anew; None goes on with the randomness at hand.
            options: None are known; PettingZoo passes some.

        Returns:
            Observations and infos by agent.
        """
        seen = self._matches.reset(None if seed is None else [seed])
        self.agents = list(AGENTS)
        if self.render_mode == "human":
            self.render()
        return {agent: each[0] for agent, each in zip(AGENTS, seen, strict=True)}, {
            each: {} for each in AGENTS
        }

    def step(self, actions: dict[str, Any]):
        """One control step.

        Args:
            actions: (A,) by agent, clipped to [-1, 1].

        Raises:
            gymnasium.error.ResetNeeded: If no match goes on.
            ValueError: If an action is missing, has the wrong shape, or is not finite.
        """
        if not self.agents:
            raise gymnasium.error.ResetNeeded("no match goes on: call reset()")
        if set(actions) != set(AGENTS):
            raise ValueError(f"expected actions of {' and '.join(AGENTS)}, got those of {sorted(actions)}")
        step = self._matches.step(tuple(np.asarray(actions[agent])[None] for agent in AGENTS))
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        if terminated or truncated:
            self.agents = []
        if self.render_mode == "human":
            self.render()
        return (
            {agent: each[0] for agent, each in zip(AGENTS, step.observations, strict=True)},
            {agent: float(step.rewards[0, side]) for side, agent in enumerate(AGENTS)},
            dict.fromkeys(AGENTS, terminated),
            dict.fromkeys(AGENTS, truncated),
            {agent: _info(step, side) for side, agent in enumerate(AGENTS)},
        )

    def render(self):
        """A (height, width, 3) uint8 picture, or in the mode ``"human"`` the window brought up to date."""
        return self._matches._screen.show(self._matches.world, 0, self.render_mode)

    def close(self) -> None:
        """Free what draws; harmless when repeated."""
        self._matches.close()

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here."""
        return {
            "match": self._matches.get_state(),
            "agents": list(self.agents),
            "max_cycles": self.max_cycles,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""
        self.max_cycles = state["max_cycles"]
        self._matches.set_state(state["match"])
        self.agents = list(state["agents"])

    def __getstate__(self):
        return {"arguments": self._arguments, "state": self.get_state()}

    def __setstate__(self, saved):
        self.__init__(**saved["arguments"])
        self.set_state(saved["state"])


def _info(step: MatchStep, side: int) -> dict[str, Any]:
    """Info of a side: rewards by our names and by those of the released world, and how the match ended."""
    terms = {name: float(term[0, side]) for name, term in step.terms.items()}
    info: dict[str, Any] = {**terms, **{old: terms[name] for name, old in ORIGINAL.items()}}
    info["shaping_reward"] = sum(terms[name] for name in SHAPING)
    info["main_reward"] = sum(terms[name] for name in terms if name not in SHAPING)
    result = Result(int(step.results[0, side]))
    if info["win_reward"] > 0:
        info["winner"] = True
    return {**info, "outcome": OUTCOMES[result], "diverged": bool(step.diverged[0])}


def parallel_env(pairing: str = "Ant-vs-Ant", **arguments: Any) -> SumoParallelEnv:
    """A match of a pairing, or of the id of its world; arguments as :class:`SumoParallelEnv` has them."""
    return SumoParallelEnv(pairing, **arguments)
