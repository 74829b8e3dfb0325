"""A trained few-shot method and its folder: evaluate it, ask it, plot it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarl import checkpoints, devices, distributed, plots
from metarl.configs import write_json
from metarl.memory import keep_freed_memory
from metarl.progress import Progress
from metarl.runs import Run
from metarl.supervised.building import best_path, built, check_unseen, has_batch_norm, load_split, stored
from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import reference
from metarl.supervised.ensemble import ensemble
from metarl.supervised.evaluation import FewShotEvaluation, Judged, Protocol, judge
from metarl.supervised.known_features import KnownFeatures
from metarl.supervised.methods.config import TRANSDUCTIVE, InnerLoop, Statistics
from metarl.supervised.methods.method import Method
from metarl.supervised.prediction import Prediction, predict, query_files, support_files
from metarl.supervised.task_kinds import Store
from metarl.supervised.training import FewShotTraining, kept_states

log = logging.getLogger(__name__)


class FewShotRun:
    """A trained few-shot method and the folder it came from.

    Args:
        run: The folder.
    """

    def __init__(self, run: Run):
        self.run = run
        self.name, self.experiment, self.config = stored(run)
        self._known: dict[tuple[str, Any], list[KnownFeatures]] = {}

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.run.path

    @property
    def is_regression(self) -> bool:
        """Whether functions are fitted, not images classified."""
        return len(self.run.config["image"]) == 1

    @property
    def labels_pictures(self) -> bool:
        """Whether it can be asked about pictures: not where functions are fitted, or features were given."""
        return not self.is_regression and self.run.config["image"][1:] != [1, 1]

    def method(self, device: torch.device | None = None, config: Any = None) -> tuple[Method, dict[str, Any]]:
        """The method with its best state in validation, and what is known of that state.

        A run without validations has its newest state instead; its running averages are estimated anew.

        Args:
            device: Where it lies; unset, as in training.
            config: In place of the run's, one that has the same parameters.
        """
        device = devices.resolve(self.experiment.device) if device is None else device
        model, state = self._loaded(device, config)
        if state["state"] == "newest" and has_batch_norm(model):
            train_store = load_split(self.experiment, "train", device)
            training = FewShotTraining(model, self.experiment, self.config.training, train_store, None)
            training.estimate_running()
        return model, state

    def trained_parameters(self, backbone: bool = False) -> Mapping[str, Tensor]:
        """Those of the best state in validation, or else of the newest; no data are needed.

        Args:
            backbone: The network from images to features, `net.*`, is to be as the method uses it.
        """
        model, _ = self._loaded(torch.device("cpu"))
        params = dict(model.module.named_parameters())
        return model.backbone(params) if backbone and model.backbone is not None else params

    def _loaded(self, device: torch.device, config: Any = None) -> tuple[Method, dict[str, Any]]:
        """The method with its best state, or else the newest, whose running averages are not estimated."""
        best = best_path(self.run)
        if best.with_name("best.json").exists():
            model, state = self._validated(best, device, config)
            return model, {"state": "best", **state}
        model = built(self.run.config, self.experiment, config or self.config, device)
        tensors, state = checkpoints.load(self.run.newest_checkpoint())
        checkpoints.load_module(model.module, checkpoints.under("module.method", tensors))
        known = {"state": "newest", "steps": state["steps"]}
        return model, known if self.is_regression else {**known, "validation_accuracy": None}

    def _validated(self, path: Path, device: torch.device, config: Any) -> tuple[Method, dict[str, Any]]:
        """The method with a state that was kept for its validation."""
        model = built(self.run.config, self.experiment, config or self.config, device)
        try:
            tensors, state = checkpoints.load(path)
        except ValueError as error:
            raise ValueError(f"{error}. Without the files {path}.* the newest state is taken") from error
        checkpoints.load_module(model.module, checkpoints.under("method", tensors))
        measure = state.get("measure", "accuracy")
        return model, {"steps": state["steps"], f"validation_{measure}": state[measure]}

    def ensemble(
        self, number: int, device: torch.device | None = None, config: Any = None
    ) -> tuple[Method, dict[str, Any]]:
        """The best states in validation as one method that answers by the mean of their scores.

        Args:
            number: How many states.
            device: As of `method`.
            config: Likewise.

        Raises:
            ValueError: The run does not keep so many.
        """
        if number < 2:
            raise ValueError(f"ensemble={number}, expected 2 or more states; leave it out for the best one")
        paths = kept_states(best_path(self.run))
        if len(paths) < number:
            kept = len(paths) or "no"
            raise ValueError(
                f"{self.path} keeps {kept} states for an ensemble, {number} were asked for. As many are kept as "
                f"`--training.kept` said in training ({self.config.training.kept}), one of every validation at most"
            )
        device = devices.resolve(self.experiment.device) if device is None else device
        members, states = zip(
            *(self._validated(path, device, config) for path in paths[:number]), strict=True
        )
        about = {name: tuple(state[name] for state in states) for name in states[0]}
        return ensemble(members), {"state": "ensemble", **about}

    def evaluate(
        self,
        way: int | None = None,
        shot: int | None = None,
        query: int = 15,
        episodes: int = 1_000,
        split: str = "test",
        statistics: Sequence[Statistics] = (),
        seed: int = 0,
        steps: Sequence[int] = (),
        ensemble: int | None = None,
        *,
        quiet: bool = False,
    ) -> FewShotEvaluation:
        """Classify the queries of episodes of a split (or fit functions); written to `evaluation.json`.

        Args:
            way: Classes of an episode; unset, as in training's validation.
            shot: Support images of each class; unset, likewise.
            query: Query images of each class.
            episodes: How many. The same number and seed are the same episodes for all methods.
            split: `test`, `validation` or `train`.
            statistics: Normalisation modes; unset, the method's own, and `transductive` where it is another.
            seed: Episodes follow from it.
            steps: Numbers of inner steps, each judged by itself, for methods that adapt by them; unset, as the method
                does.
            ensemble: How many of the best states in validation answer together; unset, the best one alone.
            quiet: Show no progress.

        Raises:
            ValueError: The method has no inner steps, a protocol cannot be had, or so many states were not kept.
        """
        usual = self.experiment
        protocol = Protocol(
            usual.way if way is None else way, usual.shot if shot is None else shot, query, episodes, seed
        )
        device = devices.resolve(self.experiment.device)
        if device.type == "cpu":
            keep_freed_memory()
        store = self.load(split, device)
        if isinstance(store, ClassStore) and protocol.way < 2:
            raise ValueError(f"way={protocol.way}, expected 2 or more classes to choose among")
        judged: dict[str, Judged] = {}
        for number in steps or (None,):
            model, state = self._model(device, number, ensemble)
            self._known = {key: self._known.get(key, []) for key in [(split, state["steps"])]}
            modes = self._modes(model, statistics)
            found = self._judged(model, store, protocol, modes, quiet)
            for mode, each in found.items():
                name = mode if number is None else f"{mode}, {number} steps"
                judged[name] = replace(each, steps=number)
        about = {**asdict(protocol), **self._about(store, split), "statistics": list(found), **state}
        file = self.path / "evaluation.json"
        evaluation = FewShotEvaluation(judged, about, file)
        try:
            write_json(file, evaluation.to_json())
        except OSError as error:  # a colleague's run, say
            log.warning("what each episode came to is not kept: %s: %s", error.filename, error.strerror)
            return replace(evaluation, file=None)
        return evaluation

    def load(self, split: str, device: torch.device) -> Store:
        """A split of the data that it was trained on.

        Args:
            split: `train`, `validation` or `test`.
            device: Where the images shall lie.

        Raises:
            ValueError: They have another shape than those of training, or classes have moved from split to split.
        """
        store = load_split(self.experiment, split, device, self.run.config["image"])
        check_unseen(self.run, store, split)
        return store

    def _about(self, store: Store, split: str) -> dict[str, Any]:
        """Whose episodes are judged, and how it was trained."""
        return {
            "method": self.name,
            "data": self.experiment.data,
            "split": split,
            "classes": store.num_classes,
            **({"images_md5": store.md5} if isinstance(store, ClassStore) else {}),
            "trained_way": self.config.training.way or self.experiment.way,
            "trained_shot": self.config.training.shot or self.experiment.shot,
            "training_seed": self.experiment.seed,
        }

    def _model(
        self, device: torch.device, steps: int | None, ensemble: int | None
    ) -> tuple[Method, dict[str, Any]]:
        """The best state, or several, with so many inner steps; and what is known of it."""
        config = self._with_steps(steps)
        return self.method(device, config) if ensemble is None else self.ensemble(ensemble, device, config)

    def _judged(
        self, model: Method, store: Store, protocol: Protocol, modes: list[Statistics], quiet: bool
    ) -> dict[str, Judged]:
        """What a method comes to by mode."""
        total = len(modes) * protocol.episodes // distributed.world_size()
        quiet = quiet or distributed.rank() > 0
        with Progress(f"{self.name} on {self.experiment.data}", total, quiet=quiet, unit="episodes") as shown:
            shown.start(0)

            def tell(more: int) -> None:
                shown.update(shown.step + more, {})

            found = judge(model, store, protocol, modes, *self._known.values(), tell)
        return found if has_batch_norm(model) else {"none": next(iter(found.values()))}

    def _with_steps(self, number: int | None) -> Any:
        """The configuration with so many inner steps in testing; the run's own for None."""
        if number is None:
            return self.config
        if hasattr(self.config, "test_steps"):
            return replace(self.config, test_steps=number)
        if not isinstance(inner := getattr(self.config, "inner", None), InnerLoop):
            raise ValueError(
                f"{self.name} takes no inner steps, or as many as in training; leave out steps={number}"
            )
        if getattr(self.config, "test", None) == "nil":
            raise ValueError(f"test='nil' takes no inner steps in testing; leave out steps={number}")
        return replace(self.config, inner=replace(inner, test_steps=number))

    def _modes(self, model: Method, wanted: Sequence[Statistics]) -> list[Statistics]:
        own = self.config.training.test_statistics
        if wanted or not has_batch_norm(model):
            return list(dict.fromkeys(wanted)) if wanted and has_batch_norm(model) else [own]
        return list(dict.fromkeys((own, "transductive")))

    def predict(
        self, support: str | Path, queries: Sequence[str | Path], *, statistics: Statistics | None = None
    ) -> Prediction:
        """Labels for pictures of one's own.

        Args:
            support: Folder that holds a folder of pictures for each class.
            queries: Pictures, or folders of them.
            statistics: Normalisation mode; unset, the method's own, or `support` where the method's own is
                `transductive` or `joint`: normalised by itself, a picture that is asked about alone, or with others of
                its class only, loses what tells its class.
        """
        if self.is_regression:
            raise ValueError(f"a run on {self.experiment.data} fits functions and labels no pictures")
        if not self.labels_pictures:
            raise ValueError(f"a run on {self.experiment.data} knows features only and labels no pictures")
        classes, files = support_files(support), query_files(queries)
        model, _ = self.method()
        reading = reference(self.experiment.data)
        if self.experiment.image_size is not None:
            reading = replace(reading, size=self.experiment.image_size)
        own = self.config.training.test_statistics
        alone: Statistics = "support" if own in TRANSDUCTIVE else own
        return predict(model, reading, classes, files, statistics or alone)

    def plot(self, out: str | Path) -> Path:
        """Draw the validation accuracy (of a regression: squared error) against training episodes."""
        tag = "fewshot/mse" if self.is_regression else "fewshot/accuracy"
        title = f"{self.name} on {self.experiment.data}, validation"
        return plots.learning_curves(
            [self.run],
            out,
            tags=[tag],
            title=title,
            xlabel="training episodes",
        )

    def __repr__(self) -> str:
        return f"FewShotRun({str(self.path)!r}, {self.run.info.get('reason')})"
