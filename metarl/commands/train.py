"""`metarl train`: train an agent anew, from another run's config, or go on with a run."""

import dataclasses
from typing import Any

from metarl.agents import AGENTS, preset
from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.experiment import Experiment
from metarl.commands.flags import parse, wants_help, world_id
from metarl.commands.training import options_of, reported, stored_config
from metarl.configs import from_dict
from metarl.names import unknown

HELP = """usage: metarl train AGENT --world ID [--seed N] [--steps N] [--out DIR] [flags of the agent]
       metarl train --config RUN/config.json [flags that differ]
       metarl train --resume RUN [--steps N]

Train an agent on a world's training tasks. `metarl train AGENT --help` lists every flag of that agent.

agents:"""
WIDTH = max(map(len, AGENTS))
ONE_TASK_AN_EPISODE = '{"schedule": "redraw", "episodes": 2}'


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run from its newest checkpoint."""

    resume: str
    """Folder of the run."""
    steps: int | None = None
    """Environment steps to train for in all; unset, as many as the run was meant to have."""
    quiet: bool = False
    """Show no progress."""


def train(arguments: list[str]) -> int:
    """Train, and say where the run lies and what can be done with it."""
    agent = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if agent is None and wants_help(arguments):
        print("\n".join([HELP, *(f"  {name:<{WIDTH}} {purpose}" for name, purpose in AGENTS.items())]))
        return 0
    if _has(arguments, "--resume"):
        if agent is not None:
            raise ValueError(f"--resume goes on with a run as it was: leave out '{agent}'")
        return _resume(arguments)
    flags = arguments if agent is None else arguments[1:]
    source, flags = _take(flags, "--config")
    if agent is None and source is None:
        raise ValueError(
            "train needs an agent as its first word, e.g. `metarl train promp --world CheetahDir-v0`; "
            f"agents: {', '.join(AGENTS)}"
        )
    if agent is not None and agent not in AGENTS:
        raise unknown("agent", agent, AGENTS)
    kept = None if source is None else stored_config(source, "agent", AGENTS, agent)
    agent = agent or str(kept and kept["agent"])
    before, config = None, preset(agent)
    if kept is not None:
        before = from_dict(Experiment, kept["experiment"], where="experiment")
        config = from_dict(type(config), kept["config"], where="config")
    options = options_of(Experiment, config, before)
    options = parse(options, f"metarl train {agent}", flags, f"{AGENTS[agent]}.")
    experiment = dataclasses.replace(options.experiment, world=world_id(options.experiment.world))

    from metarl.agents import experiments

    return reported(
        lambda: experiments.train(agent, experiment, options.config, quiet=options.quiet),
        _what_next,
        options.quiet,
    )


def _resume(arguments: list[str]) -> int:
    options = parse(Resume, "metarl train", arguments, "Go on with a run from its newest checkpoint.")

    from metarl.agents import experiments

    return reported(
        lambda: experiments.resume(options.resume, steps=options.steps, quiet=options.quiet),
        _what_next,
        options.quiet,
    )


def _has(arguments: list[str], flag: str) -> bool:
    return any(each == flag or each.startswith(f"{flag}=") for each in arguments)


def _take(arguments: list[str], flag: str) -> tuple[str | None, list[str]]:
    """The value of a flag, and the arguments without it."""
    for place, each in enumerate(arguments):
        if each.startswith(f"{flag}="):
            return each.partition("=")[2], arguments[:place] + arguments[place + 1 :]
        if each == flag:
            if place + 1 == len(arguments):
                raise ValueError(f"{flag} needs a path, e.g. {flag} RUN/config.json")
            return arguments[place + 1], arguments[:place] + arguments[place + 2 :]
    return None, arguments


def _what_next(trained: Any, path: str) -> list[str]:
    """How a run can be judged and filmed: only meta-policies have a before and an after."""
    agent = trained.name
    if agent == "self-play":
        match = f"metarl match {path} zero-ant"
        return [f"judge it:  {match}", f"film it:   {match} --rounds 3 --out clip.mp4"]
    once = "" if isinstance(preset(agent), MetaPolicyGradient) else f" --lifetime '{ONE_TASK_AN_EPISODE}'"
    return [f"judge it:  metarl evaluate {path}", f"film it:   metarl render {path}{once}"]
