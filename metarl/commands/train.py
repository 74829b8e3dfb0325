"""`metarl train`: train an agent anew, from another run's config, or go on with a run."""

import dataclasses
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from metarl.agents import AGENTS, preset
from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.experiment import Experiment
from metarl.commands.errors import say
from metarl.commands.flags import parse, wants_help, world_id
from metarl.configs import from_dict, read_json
from metarl.names import nearest

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
    if agent is None and _has(arguments, "--resume"):
        return _resume(arguments)
    flags = arguments if agent is None else arguments[1:]
    source, flags = _take(flags, "--config")
    if agent is None and source is None:
        raise ValueError(
            "train needs an agent as its first word, e.g. `metarl train promp --world CheetahDir-v0`; "
            f"agents: {', '.join(AGENTS)}"
        )
    if agent is not None and agent not in AGENTS:
        raise ValueError(f"unknown agent '{agent}': {nearest(agent, AGENTS)}")
    stored = _stored(source, agent) if source is not None else None
    agent = agent or str(stored and stored["agent"])
    options = parse(_options(agent, stored), f"metarl train {agent}", flags, f"{AGENTS[agent]}.")
    experiment = dataclasses.replace(options.experiment, world=world_id(options.experiment.world))

    from metarl.agents import experiments

    return _report(lambda: experiments.train(agent, experiment, options.config, quiet=options.quiet))


def _resume(arguments: list[str]) -> int:
    options = parse(Resume, "metarl train", arguments, "Go on with a run from its newest checkpoint.")

    from metarl.agents import experiments

    return _report(lambda: experiments.resume(options.resume, steps=options.steps, quiet=options.quiet))


def _options(agent: str, stored: dict[str, Any] | None) -> type:
    """A dataclass of everything that can be set: the experiment's fields, then the agent's own."""
    import tyro

    config = preset(agent)
    experiment: Any = dataclasses.field()
    if stored is not None:
        config = from_dict(type(config), stored["config"], where="config")
        experiment = dataclasses.field(
            default=from_dict(Experiment, stored["experiment"], where="experiment")
        )
    flat = tyro.conf.arg(name="")
    quiet = Annotated[bool, tyro.conf.arg(help="Show no progress.")]
    return dataclasses.make_dataclass(
        "Training",
        [
            ("experiment", Annotated[Experiment, flat], experiment),
            ("config", Annotated[type(config), flat], dataclasses.field(default=config)),
            ("quiet", quiet, dataclasses.field(default=False)),
        ],
        frozen=True,
    )


def _stored(path: str, agent: str | None) -> dict[str, Any]:
    """The content of a run's config.json.

    Raises:
        ValueError: It is no such file, or of another agent than the one asked for.
    """
    place = Path(path)
    stored = read_json(place / "config.json" if place.is_dir() else place)
    if not isinstance(stored, dict) or not {"agent", "experiment", "config"} <= stored.keys():
        raise ValueError(f"{path} is not the config of a run: it has no agent, experiment and config")
    if stored["agent"] not in AGENTS:
        raise ValueError(f"{path}: unknown agent '{stored['agent']}': {nearest(stored['agent'], AGENTS)}")
    if agent is not None and agent != stored["agent"]:
        raise ValueError(f"{path} is a config of '{stored['agent']}', not of '{agent}'; leave out '{agent}'")
    return stored


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


def _report(work: Callable[[], Any]) -> int:
    """Train, then say what can be done with the run.

    Returns:
        0; 130 if it was interrupted; 1 if it diverged.
    """
    from metarl.training import TrainingDiverged

    try:
        trained = work()
    except TrainingDiverged as error:
        say(str(error))
        return 1
    if trained.run.info.get("reason") == "stopped":
        return 130
    if os.environ.get("RANK", "0") == "0":
        path = shlex.quote(str(trained.path))
        print("\n".join([*_what_next(trained.name, path), f"watch it:  metarl watch {path}"]))
    return 0


def _what_next(agent: str, path: str) -> list[str]:
    """How a run can be judged and filmed: only meta-policies have a before and an after."""
    if agent == "self-play":
        match = f"metarl match {path} zero-ant"
        return [f"judge it:  {match}", f"film it:   {match} --rounds 3 --out clip.mp4"]
    once = "" if isinstance(preset(agent), MetaPolicyGradient) else f" --lifetime '{ONE_TASK_AN_EPISODE}'"
    return [f"judge it:  metarl evaluate {path}", f"film it:   metarl render {path}{once}"]
