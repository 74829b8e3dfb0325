"""metarl: meta-learning that adapts.

This page is the whole front door. Importing it registers the worlds with Gymnasium and loads nothing heavy:
a name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import metarl.envs as _envs  # noqa: F401  registers the world ids with Gymnasium

if TYPE_CHECKING:
    from pathlib import Path

    from metarl.adaptation import adapt as adapt
    from metarl.adaptation import adapt_step as adapt_step
    from metarl.agents import AGENTS as AGENTS
    from metarl.agents import preset as preset
    from metarl.agents.experiments import AgentRun as AgentRun
    from metarl.agents.zoo import pretrained as pretrained
    from metarl.envs import WORLDS as WORLDS
    from metarl.supervised import DATASETS as DATASETS
    from metarl.supervised import METHODS as METHODS
    from metarl.supervised.runs import FewShotRun as FewShotRun
    from metarl.tasks import over_tasks as over_tasks
    from metarl.update_rules import SGD as SGD
    from metarl.update_rules import LearnedSGD as LearnedSGD

    __version__: str

_HOMES = {
    "AGENTS": "metarl.agents",
    "AgentRun": "metarl.agents.experiments",
    "DATASETS": "metarl.supervised",
    "FewShotRun": "metarl.supervised.runs",
    "LearnedSGD": "metarl.update_rules",
    "METHODS": "metarl.supervised",
    "SGD": "metarl.update_rules",
    "WORLDS": "metarl.envs",
    "adapt": "metarl.adaptation",
    "adapt_step": "metarl.adaptation",
    "over_tasks": "metarl.tasks",
    "preset": "metarl.agents",
    "pretrained": "metarl.agents.zoo",
}
"""Where each public name lives."""
_ROOMS = ("agents", "nn", "supervised", "update_rules")
"""Packages and modules that are imported when they are first asked for."""

__all__ = [
    "AGENTS",
    "DATASETS",
    "METHODS",
    "SGD",
    "WORLDS",
    "AgentRun",
    "FewShotRun",
    "LearnedSGD",
    "__version__",
    "adapt",
    "adapt_step",
    "open_run",
    "over_tasks",
    "preset",
    "pretrained",
    "resume",
    "train",
]


def train(
    name: str,
    world: str | None = None,
    *,
    data: str | None = None,
    config: Any = None,
    quiet: bool = False,
    **settings: Any,
) -> "AgentRun | FewShotRun":
    """Train an agent in a world, or a few-shot method on a data set, in a new run folder.

    ```python
    run = metarl.train("promp", world="metarl/CheetahDir-v0", steps=5_000_000, seed=1, inner={"lr": 0.2})
    run = metarl.train("prototypical", data="omniglot", way=5, shot=1, episodes=20_000)
    ```

    Args:
        name: A key of `metarl.AGENTS`, or of `metarl.METHODS`.
        world: Gymnasium id of a world with tasks; `metarl/` may be left out.
        data: In place of a world, a key of `metarl.DATASETS`, or a folder with a folder of images for each class.
        config: Replaces the preset (`metarl.preset(agent)`, `metarl.supervised.preset(method, data, way, shot)`).
        quiet: Show no progress.
        **settings: Fields of the experiment (`steps` or `episodes`, `seed`, `out`, `device` ...; see
            `metarl.agents.experiment.Experiment` and `metarl.supervised.experiment.FewShotExperiment`) and of the
            config, nested ones as dicts.

    Returns:
        The run: `evaluate()`, `plot(path)`, `path`; an agent's `render(path)` and `agent`; a method's `predict(..)`.

    Raises:
        ValueError: A name or setting that is unknown (the message names the nearest), or a value that is refused.
    """
    if (world is None) == (data is None):
        got = "neither" if world is None else "both"
        raise ValueError(
            f"got {got}, expected either world= (to train an agent) or data= (a few-shot method)"
        )
    if data is not None:
        return _train_method(name, data, config, quiet, settings)
    from metarl.agents import preset
    from metarl.agents.experiment import Experiment
    from metarl.commands.flags import world_id
    from metarl.settings import changed, split

    config = preset(name) if config is None else config
    of_experiment, of_config = split(settings, Experiment, config)
    experiment = changed(Experiment(world=world_id(str(world))), of_experiment)
    config = changed(config, of_config)

    from metarl.agents import experiments

    return experiments.train(name, experiment, config, quiet=quiet)


def _train_method(name: str, data: str, config: Any, quiet: bool, settings: dict[str, Any]) -> "FewShotRun":
    from metarl.settings import changed, split
    from metarl.supervised import preset
    from metarl.supervised.experiment import FewShotExperiment

    experiment = FewShotExperiment(data=data)
    if config is None:
        config = preset(
            name, data, settings.get("way", experiment.way), settings.get("shot", experiment.shot)
        )
    of_experiment, of_config = split(settings, FewShotExperiment, config)
    experiment, config = changed(experiment, of_experiment), changed(config, of_config)

    from metarl.supervised import runs

    return runs.train(name, experiment, config, quiet=quiet)


def open_run(path: "str | Path") -> "AgentRun | FewShotRun":
    """A run that was trained before, an agent's or a few-shot method's.

    Raises:
        ValueError: The folder holds no run, or no checkpoint that can be read.
    """
    return _wing_of(path).open_run(path)


def resume(path: "str | Path", *, quiet: bool = False, **more: Any) -> "AgentRun | FewShotRun":
    """Go on with a run from its newest checkpoint, exactly as if it had not stopped.

    Args:
        path: The run's folder.
        quiet: Show no progress.
        **more: `steps` (of an agent) or `episodes` (of a method): a new total.
    """
    return _wing_of(path).resume(path, quiet=quiet, **more)


def _wing_of(path: "str | Path") -> Any:
    """The module that trains and opens runs of the kind in a folder."""
    from metarl.runs import Run

    few_shot = "method" in Run.open(path).config
    return import_module("metarl.supervised.runs" if few_shot else "metarl.agents.experiments")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
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
