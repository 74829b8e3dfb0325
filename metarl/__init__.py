"""metarl: meta-learning that adapts.

This page is the whole front door. Importing it registers the worlds with Gymnasium and loads nothing heavy:
a name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import metarl.envs as _envs  # noqa: F401  registers the world ids with Gymnasium

if TYPE_CHECKING:
    from metarl.adaptation import adapt as adapt
    from metarl.adaptation import adapt_step as adapt_step
    from metarl.agents import AGENTS as AGENTS
    from metarl.agents import preset as preset
    from metarl.agents.experiments import AgentRun as AgentRun
    from metarl.agents.experiments import open_run as open_run
    from metarl.agents.experiments import resume as resume
    from metarl.envs import WORLDS as WORLDS
    from metarl.tasks import over_tasks as over_tasks
    from metarl.update_rules import SGD as SGD
    from metarl.update_rules import LearnedSGD as LearnedSGD

    __version__: str

_HOMES = {
    "AGENTS": "metarl.agents",
    "AgentRun": "metarl.agents.experiments",
    "LearnedSGD": "metarl.update_rules",
    "SGD": "metarl.update_rules",
    "WORLDS": "metarl.envs",
    "adapt": "metarl.adaptation",
    "adapt_step": "metarl.adaptation",
    "open_run": "metarl.agents.experiments",
    "over_tasks": "metarl.tasks",
    "preset": "metarl.agents",
    "resume": "metarl.agents.experiments",
}
"""Where each public name lives."""

__all__ = [
    "AGENTS",
    "SGD",
    "WORLDS",
    "AgentRun",
    "LearnedSGD",
    "__version__",
    "adapt",
    "adapt_step",
    "open_run",
    "over_tasks",
    "preset",
    "resume",
    "train",
]


def train(agent: str, world: str, *, config: Any = None, quiet: bool = False, **settings: Any) -> "AgentRun":
    """Train an agent in a world, in a new run folder.

    ```python
    run = metarl.train("promp", world="metarl/CheetahDir-v0", steps=5_000_000, seed=1, inner={"lr": 0.2})
    ```

    Args:
        agent: A key of `metarl.AGENTS`.
        world: Gymnasium id of a world with tasks; `metarl/` may be left out.
        config: Replaces the agent's preset (`metarl.preset(agent)`).
        quiet: Show no progress.
        **settings: Fields of the experiment (`steps`, `seed`, `out`, `device` ...; see
            `metarl.agents.experiment.Experiment`) and of the agent's config, nested ones as dicts.

    Returns:
        The run: `evaluate()`, `plot(path)`, `render(path)`, `agent`, `path`.

    Raises:
        ValueError: An agent, world or setting that is unknown (the message names the nearest), or a value
            that is refused.
    """
    from metarl.agents import preset
    from metarl.agents.experiment import Experiment
    from metarl.commands.flags import world_id
    from metarl.settings import changed, split

    config = preset(agent) if config is None else config
    of_experiment, of_config = split(settings, Experiment, config)
    experiment = changed(Experiment(world=world_id(world)), of_experiment)
    config = changed(config, of_config)

    from metarl.agents import experiments

    return experiments.train(agent, experiment, config, quiet=quiet)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in ("agents", "supervised"):
        return import_module(f"metarl.{name}")
    from metarl.names import nearest

    raise AttributeError(f"module 'metarl' has no attribute '{name}': {nearest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("metarl-suite")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"
