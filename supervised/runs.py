"""Train a few-shot method, go on with its training, open what was trained."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from metarl import checkpoints, devices, distributed
from metarl.algorithms import MetaOptimizer
from metarl.configs import to_dict
from metarl.memory import keep_freed_memory
from metarl.runs import Run
from metarl.schedule import Schedule
from metarl.supervised.building import (
    VERB,
    best_path,
    built,
    check_same_classes,
    classes_of_folder,
    load_both,
    placed,
    stored,
)
from metarl.supervised.class_store import ClassStore
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.fewshot_run import FewShotRun
from metarl.supervised.illustration import LAYOUT, illustrate
from metarl.supervised.methods import preset
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.methods.method import Method
from metarl.supervised.starting import start_from
from metarl.supervised.task_kinds import Store
from metarl.supervised.training import (
    FewShotTraining,
    Untrained,
    number_of_updates,
    optimizer_of,
    stage_ends,
)
from metarl.training import ending_noted
from metarl.training import train as run_training

log = logging.getLogger(__name__)
__all__ = ["FewShotRun", "open_run", "resume", "train"]


def train(
    method: str, experiment: FewShotExperiment, config: Any = None, *, quiet: bool = False
) -> FewShotRun:
    """Train a method in a new run folder.

    Args:
        method: A key of `metarl.supervised.METHODS`.
        experiment: Data, ways, shots, episodes, seed, output folder.
        config: What the method's preset is replaced by.
        quiet: Print nothing.

    Returns:
        The finished run.

    Raises:
        ValueError: Unknown method or data set, a configuration that is refused, or a run that it cannot start from.
    """
    if config is None:
        config = preset(method, experiment.data, experiment.way, experiment.shot)
    experiment, data = placed(experiment)
    device = _device(experiment)
    with distributed.ranks(device):
        stores = load_both(experiment, device)
        _warn_of_fewer_ways(experiment, stores[1])
        settings = {
            "method": method,
            "experiment": to_dict(experiment),
            "config": to_dict(config),
            "image": list(stores[0].image),
            "classes": stores[0].num_classes,
            **classes_of_folder(experiment, stores[0]),
        }
        model = built(settings, experiment, config, device)
        if experiment.start_from is not None:
            start_from(experiment.start_from, model, config, experiment.start_with)
        elif model.needs_start:
            raise ValueError(model.needs_start)
        training, optimizer = _prepared(model, experiment, config, stores)
        run = Run.create(experiment.out, data, method, experiment.seed, settings, VERB)
        with ending_noted(run):
            return _run(run, training, optimizer, quiet)


def resume(path: str | Path, *, episodes: int | None = None, quiet: bool = False) -> FewShotRun:
    """Go on with a run from its newest checkpoint, exactly as if it had not stopped.

    Args:
        path: The run's folder.
        episodes: A new total of training episodes; unset, the run's own. Step sizes that change at shares of the
            training change at shares of the new total.
        quiet: Print nothing.

    Raises:
        ValueError: With so many episodes the training would be in a stage again that is over, as its share is larger; or
            the training classes are others than before.
    """
    run = Run.open(path)
    _, experiment, config = stored(run)
    before = replace(experiment, episodes=run.total(None, experiment.episodes))
    experiment = before if episodes is None else replace(experiment, episodes=episodes)
    device = _device(experiment)
    with distributed.ranks(device):
        model = built(run.config, experiment, config, device)
        _check_stage(run, model, config.training, before, experiment)
        stores = load_both(experiment, device)
        check_same_classes(run, stores[0])
        if experiment.start_from is not None and not checkpoints.complete(run.checkpoints):
            start_from(experiment.start_from, model, config, experiment.start_with)
        run.total(episodes, experiment.episodes)
        return _run(run, *_prepared(model, experiment, config, stores), quiet)


def open_run(path: str | Path) -> FewShotRun:
    """A run that was trained before.

    Raises:
        ValueError: The folder holds no run of a few-shot method.
    """
    return FewShotRun(Run.open(path))


def _check_stage(
    run: Run,
    method: Method,
    training: EpisodicTraining,
    before: FewShotExperiment,
    experiment: FewShotExperiment,
) -> None:
    """Refuse to go back into a stage: what later ones have learned belongs to what it left."""
    newest = None if before == experiment else checkpoints.latest(run.checkpoints)
    if newest is None:
        return
    last = int(checkpoints.load(newest)[0]["module.updates"]) - 1
    stage, again = (
        sum(last >= end for end in stage_ends(method.stages, number_of_updates(each, training)))
        for each in (before, experiment)
    )
    if again < stage:
        raise ValueError(
            f"part {again + 1} of this training is over, but would go on with {experiment.episodes:,} episodes, of which "
            "it is a share: what was learned after it would not fit. Train anew for as many"
        )


def _warn_of_fewer_ways(experiment: FewShotExperiment, validation: Store) -> None:
    if not isinstance(validation, ClassStore) or not experiment.evaluate_every:
        return
    if validation.num_classes < 2:
        if distributed.is_main():
            log.warning("validation has 1 class, among which every answer is right: no state is chosen by it")
    elif validation.num_classes < experiment.way and distributed.is_main():
        log.warning(
            "validation has %d classes: states are chosen at %d ways, not at %d",
            validation.num_classes,
            validation.num_classes,
            experiment.way,
        )


def _device(experiment: FewShotExperiment) -> torch.device:
    """Where an experiment is computed; on a CPU the process keeps what memory it frees, which takes a fifth less time."""
    device = devices.resolve(experiment.device)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _prepared(
    method: Method, experiment: FewShotExperiment, config: Any, stores: tuple[Store, Store]
) -> tuple[FewShotTraining, MetaOptimizer]:
    """What is trained and what trains it; refuses what cannot be had."""
    training = FewShotTraining(method, experiment, config.training, *stores)
    updates = number_of_updates(experiment, config.training)
    return training, optimizer_of(method.module, config.training, updates, method.stages)


def _run(run: Run, training: FewShotTraining, optimizer: MetaOptimizer, quiet: bool) -> FewShotRun:
    training.best = best_path(run)
    experiment, validation = training.experiment, training.validation
    schedule = Schedule(
        steps=1 if isinstance(optimizer, Untrained) else experiment.episodes,
        seed=experiment.seed,
        evaluate_every=experiment.evaluate_every,
        checkpoint_every=experiment.checkpoint_every,
    )
    run.layout(LAYOUT)
    run_training(training, optimizer, schedule, run, quiet=quiet, unit="episodes")
    trained = FewShotRun(run)
    if (
        isinstance(validation, ClassStore)
        and validation.has_pictures
        and run.info["reason"] == "finished"
        and distributed.is_main()
    ):
        mode = training.training.test_statistics
        illustrate(run, trained.method()[0], validation, experiment, mode)
    return trained
