"""Accuracy and its interval, on episodes that only the protocol decides."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from metarl.configs import read_json
from metarl.supervised import building, evaluation, preset, runs, training
from metarl.supervised.class_store import ClassStore
from metarl.supervised.episodes import EpisodeSampler
from metarl.supervised.evaluation import FewShotEvaluation, Judged, Protocol, interval, judge, seeded
from metarl.supervised.known_features import known_features
from metarl.supervised.methods import build
from metarl.supervised.methods.method import Method
from metarl.supervised.normalisation import embed, estimate_running
from metarl.tasks import over_tasks
from metarl.transforms import stateless
from tests.supervised import front


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(evaluation, "over_tasks", partial(over_tasks, how="loop"))
    return front.load_once("strokes", "test")


def knows(right, seen=None):
    """A method that is right about the first `right` queries of each class, and wrong about all others."""

    def task(params, episode, statistics):
        if seen is not None:
            seen.setdefault(statistics, []).append(episode.query.clone())
        way, labels = episode.classes.shape[-1], episode.query_labels
        place = torch.arange(len(labels)) % (len(labels) // way)
        answers = torch.where(place < right, labels, (labels + 1) % way)
        return torch.tensor(0.5), nn.functional.one_hot(answers, way).float()

    return Method(nn.Module(), task)


def test_the_interval_by_hand():
    accuracies = np.array([0.2, 0.4, 0.6, 0.8])  # sample variance 0.2 / 3
    assert interval(accuracies) == pytest.approx(1.96 * math.sqrt(0.2 / 3) / 2)


def test_accuracy_is_the_share_of_the_queries(store):
    found = judge(knows(3), store, Protocol(5, 1, 4, 12), ["running"])["running"]
    assert found.accuracies.shape == (12,)
    assert found.accuracies == pytest.approx(0.75)
    assert found.loss == pytest.approx(0.5)


def test_all_modes_and_methods_see_the_same_episodes(store):
    one, other = {}, {}
    protocol = Protocol(5, 1, 2, 12, seed=3)
    judge(knows(0, one), store, protocol, ["running", "transductive"])
    judge(knows(1, other), store, protocol, ["joint"])
    for first, second, third in zip(one["running"], one["transductive"], other["joint"], strict=True):
        assert torch.equal(first, second)
        assert torch.equal(first, third)


def test_more_episodes_begin_with_those_of_fewer_and_other_seeds_are_others(store):
    few, many, others = {}, {}, {}
    for seen, episodes, seed in ((few, 7, 0), (many, 25, 0), (others, 7, 1)):
        judge(knows(0, seen), store, Protocol(5, 1, 2, episodes, seed), ["joint"])
    assert len(many["joint"]) == 25
    assert all(map(torch.equal, few["joint"], many["joint"]))
    assert not any(map(torch.equal, few["joint"], others["joint"]))
    assert len({float(each.sum()) for each in many["joint"]}) == 25  # no episode comes twice


def test_one_episode_has_no_interval():
    with pytest.raises(ValueError, match="episodes=1"):
        Protocol(5, 1, 15, 1)
    with pytest.raises(ValueError, match="way=0, expected 1"):
        Protocol(0, 1)
    with pytest.raises(ValueError, match="seed=-1, expected 0"):
        Protocol(5, 1, seed=-1)


def estimated(method, store):
    """Running averages from three episodes."""
    draw, params = EpisodeSampler(store, 5, 1, 2), dict(method.module.named_parameters())
    with torch.no_grad():
        batches = (pytree.tree_map(lambda each: each[0], draw.draw(1, seeded(1, n))) for n in range(3))
        estimate_running(method.module, lambda episode: method.task(params, episode, "joint"), batches)


def test_full_context_reads_images_in_an_order_of_their_own(store, monkeypatch):
    config = replace(preset("matching", "strokes", 5, 1), full_context=True)
    config = replace(config, backbone=replace(config.backbone, channels=4))
    method = build("matching", config, store.image, 9, 5, 1)
    estimated(method, store)
    protocol = Protocol(5, 2, 3, 12)
    usual = judge(method, store, protocol, ["running"])["running"]
    monkeypatch.setattr(evaluation, "WORTH", 0)
    assert judge(method, store, protocol, ["running"])["running"].loss == usual.loss


EMBEDDING = ["prototypical", "relation", "siamese", "gaussian-prototypical", "matching", "versa", "leo"]


@pytest.mark.parametrize("name", EMBEDDING)
def test_known_features_give_the_accuracies_that_images_give(store, monkeypatch, name):
    torch.manual_seed(0)
    config = preset(name, "strokes", 5, 1)
    method = build(name, replace(config, backbone=replace(config.backbone, channels=4)), store.image, 9, 5, 1)
    estimated(method, store)
    monkeypatch.setattr(evaluation, "WORTH", 0)
    sizes = []
    monkeypatch.setattr(
        evaluation, "known_features", lambda *args: sizes.append(len(store)) or known_features(*args)
    )
    protocol = Protocol(5, 2, 3, 25, seed=4)
    known = []
    short = judge(method, store, protocol, ["running"], known)["running"]
    assert len(sizes) == len(known) == 1  # the short way was taken
    again = judge(method, store, protocol, ["running"], known)["running"]
    assert again.loss == pytest.approx(short.loss, rel=1e-4)
    usual = judge(replace(method, embeds=False), store, protocol, ["running"])["running"]
    assert len(sizes) == len(known) == 1  # nor was anything found twice
    assert short.accuracies == pytest.approx(usual.accuracies, abs=0.07)  # a draw between two classes at most
    assert short.accuracies.mean() == pytest.approx(usual.accuracies.mean(), abs=0.01)
    assert short.loss == pytest.approx(usual.loss, rel=1e-4)


def test_features_that_depend_on_the_episode_are_not_known(store, monkeypatch):
    monkeypatch.setattr(evaluation, "WORTH", 0)
    monkeypatch.setattr(evaluation, "known_features", lambda *args: pytest.fail("features are not fixed"))
    method = build("prototypical", preset("prototypical", "strokes", 5, 1), store.image, 9, 5, 1)
    judge(method, store, Protocol(5, 1, 2, 12), ["joint", "transductive", "support"])

    def task(params, episode, statistics):
        film = [(torch.ones(64), torch.zeros(64))] * 4
        net = stateless(method.module.net, "net.")
        support, query = embed(partial(net, params), episode, "joint", film=film)
        scores = query @ support.T
        return nn.functional.cross_entropy(scores, episode.query_labels), scores

    judge(replace(method, task=task), store, Protocol(5, 1, 2, 12), ["running"])


def test_known_features_are_those_of_turned_pictures(store):
    turned = ClassStore(store.images, store.starts, store.names, rotations=4)
    known = known_features(lambda images, statistics: images.flatten(1), turned)
    index, turns = torch.tensor([[0, 3], [7, 7]]), torch.tensor([[0, 1], [2, 3]])
    assert torch.equal(known.pictures(index, turns), turned.pictures(index, turns).flatten(2))
    assert known.num_classes == turned.num_classes


def test_features_that_would_not_fit_are_not_kept(store, monkeypatch):
    monkeypatch.setattr("metarl.supervised.known_features.LARGEST", 1000)
    assert known_features(lambda images, statistics: images.flatten(1), store) is None


def test_the_table_says_what_was_judged():
    judged = {"running": Judged(np.array([0.5, 1.0] * 50), 0.1), "transductive": Judged(np.ones(100), 0.1)}
    about = {
        "method": "m",
        "data": "d",
        "split": "test",
        "way": 20,
        "shot": 5,
        "query": 15,
        "episodes": 100,
        "classes": 423,
    }
    found = FewShotEvaluation(judged, {**about, "seed": 0})
    assert found.accuracy == 0.75
    table = found.table()
    assert "d (test, 423 classes): 20-way 5-shot, 15 queries of each class, 100 episodes" in table
    assert "75.00 ± 4.92" in table
    assert "| transductive  | 100.00 ± 0.00 |" in table
    assert "600 episodes or more" in table
    assert "or more" not in FewShotEvaluation(judged, {**about, "seed": 0, "episodes": 600}).table()


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(training, "RUNNING_EPISODES", 2)
    monkeypatch.setattr(runs, "illustrate", lambda *args: None)

    def train(**changes):
        backbone = changes.pop("backbone", {})
        config = front.config()
        config = replace(config, backbone=replace(config.backbone, **backbone))
        return runs.train("prototypical", front.experiment(tmp_path, **changes), config, quiet=True)

    return train


def test_a_run_is_judged_in_its_own_mode_and_transductively(trained):
    found = trained().evaluate(way=7, episodes=12)
    assert list(found.judged) == ["running", "transductive"]
    assert found.accuracy == float(found.judged["running"].accuracies.mean())
    written = read_json(runs.open_run(trained().path).path / "config.json")
    assert written["method"] == "prototypical"


def test_what_was_found_is_written_down(trained):
    run = trained()
    found = run.evaluate(way=7, shot=2, query=4, episodes=12, split="validation", seed=5)
    written = read_json(run.path / "evaluation.json")
    wanted = {"way": 7, "shot": 2, "query": 4, "episodes": 12, "split": "validation", "seed": 5}
    assert wanted.items() <= written["protocol"].items()
    assert written["summary"][0]["accuracy"] == pytest.approx(found.accuracy)
    assert written["accuracies"]["running"] == pytest.approx(found.judged["running"].accuracies, abs=1e-6)
    again = runs.open_run(run.path)
    same = again.evaluate(way=7, shot=2, query=4, episodes=12, split="validation", seed=5)
    assert same.to_json() == found.to_json()


def test_judging_shows_how_far_it_is_unless_it_is_to_be_quiet(trained, capsys):
    run = trained()
    capsys.readouterr()
    run.evaluate(episodes=25, statistics=["running", "joint"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("10/50 episodes (20%)")  # ten are drawn at a time
    assert shown[-1].startswith("50/50 episodes (100%)")
    run.evaluate(episodes=25, quiet=True)
    assert capsys.readouterr().out == ""


def test_modes_can_be_chosen(trained):
    found = trained().evaluate(episodes=4, statistics=["support", "joint", "support"])
    assert list(found.judged) == ["support", "joint"]


def test_without_batch_norm_there_are_no_modes(trained):
    assert list(trained(backbone={"norm": "group"}).evaluate(episodes=4).judged) == ["none"]


def test_without_validation_the_newest_state_is_judged_with_averages_of_its_own(trained):
    run = trained(evaluate_every=0)
    assert not (run.run.checkpoints / "best.json").exists()
    model, about = run.method()
    assert about == {"state": "newest", "steps": 24, "validation_accuracy": None}
    averages = [each for name, each in model.module.named_buffers() if "mean" in name]
    assert averages
    assert all(bool((each != 0).any()) for each in averages)


def test_more_ways_than_classes_are_refused(trained):
    with pytest.raises(ValueError, match="1000"):
        trained().evaluate(way=1000, episodes=4)


def test_the_learning_curve_is_drawn(trained, tmp_path):
    pytest.importorskip("matplotlib")
    assert trained().plot(tmp_path / "curve.png").stat().st_size > 5_000
