"""Several states of one training that answer together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metarl import checkpoints
from metarl.configs import read_json
from metarl.supervised import building, preset, runs, training
from metarl.supervised.ensemble import ensemble
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.evaluation import DRAW, seeded
from metarl.supervised.methods.method import Method
from metarl.supervised.training import kept_states
from metarl.tasks import over_tasks
from tests.supervised import front


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(training, "RUNNING_EPISODES", 2)
    monkeypatch.setattr(runs, "illustrate", lambda *args: None)


def says(scores):
    """A method that has the same scores for every query, which are its parameters."""
    module = nn.Module()
    module.scores = nn.Parameter(torch.tensor(scores))

    def task(params, episode, statistics):
        found = params["scores"].expand(len(episode.query_labels), -1)
        return F.cross_entropy(found, episode.query_labels), found

    return Method(module, task)


def test_scores_are_averaged_before_the_softmax():
    together = ensemble([says([4.0, 0.0]), says([-1.0, 1.0]), says([0.0, 5.0])])
    nothing = torch.zeros(0)
    one = Episode(nothing, nothing, nothing, torch.tensor([0]), torch.arange(2))
    params = dict(together.module.named_parameters())
    loss, scores = together.tested(params, one, "running")
    assert torch.equal(scores, torch.tensor([[1.0, 2.0]]))
    assert loss.item() == pytest.approx(np.log(1 + np.e))  # by mean probabilities it would be another


def test_a_training_keeps_the_best_states_in_their_order(tmp_path, monkeypatch):
    to_come = [0.5, 0.9, 0.4, 0.7, 0.9, 0.6]
    judge = training.judge

    def judged(method, store, protocol, modes):
        found = judge(method, store, protocol, modes)[modes[0]]
        return {modes[0]: replace(found, values=np.full(2, to_come.pop(0)))}

    monkeypatch.setattr(training, "judge", judged)
    run = runs.train(
        "prototypical", front.experiment(tmp_path, evaluate_every=2), front.config(kept=3), quiet=True
    ).run
    assert not to_come
    kept = kept_states(run.checkpoints / "best")
    assert [each.name for each in kept] == ["best_000000008", "best_000000020", "best_000000016"]
    assert sorted(run.checkpoints.glob("best_*.safetensors")) == sorted(
        each.with_suffix(".safetensors") for each in kept
    )
    best, first = (checkpoints.load(each)[0] for each in (run.checkpoints / "best", kept[0]))
    assert all(torch.equal(best[name], first[name]) for name in best)
    third, then = checkpoints.load(kept[2])[0], checkpoints.load(run.checkpoints / "step_000000016")[0]
    assert all(torch.equal(third[name], then[f"module.{name}"]) for name in third)


def test_a_training_that_keeps_one_state_has_one_file(tmp_path):
    run = runs.train("prototypical", front.experiment(tmp_path), front.config(), quiet=True)
    assert [each.name for each in run.run.checkpoints.glob("best*.json")] == ["best.json"]
    with pytest.raises(ValueError, match=r"keeps no states .*--training.kept"):
        run.evaluate(episodes=4, ensemble=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """MAML++ with averages of batch norm for every step, used in testing."""
    patch = pytest.MonkeyPatch()
    patch.setattr(building, "load", front.load_once)
    patch.setattr(training, "RUNNING_EPISODES", 2)
    patch.setattr(runs, "illustrate", lambda *args: None)
    config = preset("maml++", "strokes", 5, 1)
    assert config.training.kept == 5
    usual = replace(config.training, query=2, tasks=2, kept=3, test_statistics="running", lr=0.02)
    inner = replace(config.inner, steps=2, test_steps=2)
    config = replace(config, backbone=replace(config.backbone, channels=4), training=usual, inner=inner)
    run = runs.train("maml++", front.experiment(tmp_path_factory.mktemp("x")), config, quiet=True)
    patch.undo()
    return run


def test_an_ensemble_answers_by_the_mean_of_what_its_states_say_alone(trained):
    found = trained.evaluate(episodes=8, query=3, ensemble=3, statistics=["running"])
    episodes = EpisodeSampler(front.load_once("strokes", "test"), 5, 1, 3).draw(DRAW, seeded(0, 0))
    parts = []
    for path in kept_states(trained.run.checkpoints / "best"):
        method, _ = trained._validated(path, torch.device("cpu"), None)

        def scores(params, one, method=method):
            return method.tested(params, one, "running")

        with torch.no_grad():
            parts.append(over_tasks(scores)(dict(method.module.named_parameters()), episodes)[1])
    assert len(parts) == 3
    assert not torch.allclose(parts[0], parts[1])
    right = (torch.stack(parts).mean(0).argmax(-1) == episodes.query_labels).float().mean(-1)
    assert found.judged["running"].values == pytest.approx(right[:8].numpy())
    alone = (parts[0].argmax(-1) == episodes.query_labels).float().mean(-1)
    assert found.judged["running"].values != pytest.approx(alone[:8].numpy())


def test_an_evaluation_says_which_states_answered(trained):
    found = trained.evaluate(episodes=4, ensemble=2)
    written = read_json(trained.path / "evaluation.json")["protocol"]
    states = [read_json(path.with_suffix(".json")) for path in kept_states(trained.run.checkpoints / "best")]
    assert written["state"] == "ensemble"
    assert written["steps"] == [each["steps"] for each in states[:2]]
    assert written["validation_accuracy"] == [each["accuracy"] for each in states[:2]]
    assert "2 states together" in found.table()
    assert "together" not in trained.evaluate(episodes=4).table()


@pytest.mark.parametrize(("number", "message"), [(4, "keeps 3 states"), (1, "expected 2 or more")])
def test_other_numbers_of_states_are_refused(trained, number, message):
    with pytest.raises(ValueError, match=message):
        trained.evaluate(episodes=4, ensemble=number)
