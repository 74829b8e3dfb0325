"""What TensorBoard finds below a finished training: episodes as pictures, an embedding; and the layout of its page."""

import re

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarl.supervised import building, runs, training
from metarl.supervised.class_store import ClassStore
from metarl.supervised.illustration import EPISODES, LAYOUT, as_bytes, class_name
from tests.supervised import front


def store(**more):
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(6, 1, 4, 4)
    return ClassStore(images, torch.tensor([0, 3, 6]), ["a", "b"], **more)


def test_episodes_are_pictures_with_an_embedding_and_every_chart_has_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(training, "RUNNING_EPISODES", 2)
    run = runs.train("prototypical", front.experiment(tmp_path), front.config(), quiet=True).run
    board = EventAccumulator(str(run.path / "episodes"), size_guidance={"images": 0})
    board.Reload()
    assert board.Tags()["images"] == [f"fewshot/episode_{number + 1}" for number in range(EPISODES)]
    assert board.Images("fewshot/episode_1")[0].width > 500
    (vectors,) = (run.path / "episodes").rglob("tensors.tsv")
    assert (
        len(vectors.read_text().splitlines()[0].split("\t")) == 4
    )  # one pixel of four channels is left of 28x28
    (labels,) = (run.path / "episodes").rglob("metadata.tsv")
    assert len(vectors.read_text().splitlines()) == len(labels.read_text().splitlines()) == 5 * 3
    logged = run.metrics()
    stages = [r"train/stage$"]  # only of methods that have some
    for charts in LAYOUT.values():
        for patterns in charts.values():
            assert patterns == stages or any(re.match(each, tag) for each in patterns for tag in logged)


def test_turned_classes_say_so():
    assert [class_name(store(rotations=4), number) for number in (0, 1, 2, 7)] == [
        "a",
        "b",
        "a 90°",
        "b 270°",
    ]


def test_normalised_images_become_the_bytes_that_they_were():
    normal = store(mean=[0.2], std=[0.5])
    shown = as_bytes(normal.pictures(torch.arange(6), None), normal)
    assert (torch.from_numpy(shown) == normal.images).all()


@pytest.mark.parametrize("reason", ["stopped", "finished"])
def test_only_a_finished_training_is_illustrated(tmp_path, monkeypatch, reason):
    drawn = []
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(training, "RUNNING_EPISODES", 2)
    monkeypatch.setattr(runs, "illustrate", lambda *args: drawn.append(args))
    monkeypatch.setattr(runs, "run_training", lambda *args, **kwargs: args[3].finish(reason))
    monkeypatch.setattr(runs.FewShotRun, "method", lambda self: (None, {}))
    runs.train("prototypical", front.experiment(tmp_path), front.config(), quiet=True)
    assert len(drawn) == (reason == "finished")
