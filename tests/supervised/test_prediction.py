"""Labels for pictures of one's own, and the sheet that shows them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from metarl.supervised import building, demo, fewshot_run, prediction, runs, training
from metarl.supervised.methods.method import Method
from metarl.supervised.pictures import RIGHT, THUMB, WRONG, contact_sheet
from metarl.supervised.prediction import classify, query_files, support_files
from tests.supervised import front


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path)


def test_folders_are_classes_and_lone_pictures_too(tmp_path):
    touch(tmp_path / "b/2.png", tmp_path / "b/1.jpg", tmp_path / "a.png", tmp_path / "c/.hidden.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    assert support_files(tmp_path) == {
        "a": [tmp_path / "a.png"],
        "b": [tmp_path / "b/1.jpg", tmp_path / "b/2.png"],
    }


def test_a_class_whose_pictures_cannot_be_read_is_not_passed_over(tmp_path):
    touch(tmp_path / "a/1.png", tmp_path / "b/1.png")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/1.heic").touch()
    with pytest.raises(ValueError, match="c holds no picture that can be read"):
        support_files(tmp_path)


def test_one_class_is_not_enough(tmp_path):
    touch(tmp_path / "a/1.png")
    with pytest.raises(ValueError, match="has 1 classes, expected 2 or more"):
        support_files(tmp_path)
    with pytest.raises(ValueError, match="no folder"):
        support_files(tmp_path / "nowhere")


def test_a_folder_of_queries_stands_for_its_pictures(tmp_path):
    touch(tmp_path / "q/2.png", tmp_path / "q/1.png", tmp_path / "z.png")
    found = query_files([tmp_path / "z.png", tmp_path / "q"])
    assert [each.name for each in found] == ["z.png", "1.png", "2.png"]
    with pytest.raises(ValueError, match="no such picture"):
        query_files([tmp_path / "x.png"])
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no query"):
        query_files([tmp_path / "none"])


def test_probabilities_by_hand_with_unequal_shots():
    def task(params, episode, statistics):
        assert statistics == "support"
        one = nn.functional.one_hot(episode.support_labels, episode.classes.shape[-1]).float()
        means = (one.T @ episode.support.flatten(1)) / one.sum(0)[:, None]
        return torch.zeros(()), -((episode.query.flatten(1)[:, None] - means) ** 2).sum(-1)

    support = torch.tensor([0.0, 2.0, 4.0]).view(3, 1, 1, 1)  # class means 1 and 4
    found = classify(
        Method(nn.Module(), task),
        support,
        torch.tensor([0, 0, 1]),
        torch.tensor([2.0]).view(1, 1, 1, 1),
        "support",
    )
    assert found == pytest.approx(np.array([[1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3))]]), rel=1e-6)


def test_a_trained_method_labels_pictures_from_files(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(training, "RUNNING_EPISODES", 5)
    monkeypatch.setattr(runs, "illustrate", lambda *args: None)
    run = runs.train("prototypical", front.experiment(tmp_path, episodes=60), front.config(), quiet=True)
    support, queries = demo.draw_pictures(tmp_path / "pictures", seed=0)
    found = run.predict(support, [queries])
    assert len(found.labels) == demo.WAY
    assert found.probabilities.shape == (demo.QUERIES, demo.WAY)
    assert found.probabilities.sum(1) == pytest.approx(1.0)
    own = run.predict(support, sorted(support.glob("*/*.png")))
    right = [query.split("/")[-2] == label for query, label in zip(own.queries, own.best, strict=True)]
    assert np.mean(right) > 0.5  # pictures that it learned from; chance is 0.2
    table = found.table()
    assert all(query in table for query in found.queries)
    assert f"{found.best[0]} {found.probabilities[0].max():.1%}" in table
    with Image.open(found.sheet(tmp_path / "deep/sheet.png")) as image:
        assert image.size[0] > 600
    with pytest.raises(ValueError, match="ends in"):
        found.sheet(tmp_path / "sheet.xyz")


@pytest.mark.parametrize(
    ("own", "expected"), [("transductive", "support"), ("joint", "support"), ("running", "running")]
)
def test_pictures_are_not_normalised_by_each_other_unless_that_is_asked_for(
    tmp_path, monkeypatch, own, expected
):
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(training, "RUNNING_EPISODES", 2)
    monkeypatch.setattr(runs, "illustrate", lambda *args: None)
    config = front.config(test_statistics=own)
    run = runs.train("prototypical", front.experiment(tmp_path, episodes=4), config, quiet=True)
    monkeypatch.setattr(fewshot_run, "predict", lambda *args: args[-1])
    support, queries = demo.draw_pictures(tmp_path / "pictures", seed=0)
    assert run.predict(support, [queries]) == expected
    assert run.predict(support, [queries], statistics="transductive") == "transductive"


@pytest.mark.parametrize(("mean", "std"), [((), ()), ((0.25,), (0.5,))])
def test_what_is_seen_is_what_training_saw(tmp_path, monkeypatch, mean, std):
    """Pictures written to files and read again are the bytes of the data set, normalised as they were."""
    from metarl.supervised.class_store import ClassStore
    from metarl.supervised.datasets import reference

    drawn = front.load_once("strokes", "test")
    store = ClassStore(drawn.images, drawn.starts, drawn.names, mean=mean, std=std)
    support, queries = demo.draw_pictures(tmp_path, seed=0)
    seen = []

    def watched(method, images, labels, query, statistics):
        seen.append(images)
        return np.ones((len(query), demo.WAY))

    monkeypatch.setattr(prediction, "classify", watched)
    reading = replace(reference("strokes"), mean=mean, std=std)
    found = prediction.predict(
        Method(nn.Module(), lambda *args: None),
        reading,
        support_files(support),
        query_files([queries]),
        "running",
    )
    places = {each.numpy().tobytes(): index for index, each in enumerate(store.images)}
    index = torch.tensor([places[each.tobytes()] for each in found.support_pictures])
    torch.testing.assert_close(seen[0], store.pictures(index, None))
    assert [store.names[int(each) // 20] for each in index] == [found.labels[i] for i in found.support_labels]


def test_the_sheet_shows_support_queries_bars_and_whether_it_was_right():
    colours = [(10, 200, 0), (200, 10, 0), (0, 10, 200)]
    support = np.stack([np.full((8, 8, 3), each, dtype=np.uint8).transpose(2, 0, 1) for each in colours])
    query = np.full((2, 1, 8, 8), 50, dtype=np.uint8)
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1]])
    sheet = np.asarray(
        contact_sheet(["a", "b"], support, np.array([0, 0, 1]), query, probabilities, np.array([0, 1]))
    )
    flat = sheet.reshape(-1, 3)

    def area(colour):
        return int((flat == colour).all(1).sum())

    assert [area(each) for each in colours] == [THUMB**2] * 3
    frame = THUMB**2 - (THUMB - 6) ** 2
    assert area(RIGHT) == frame
    assert area(WRONG) > frame  # the bars of the second class have that colour too
    assert 0 <= area((50, 50, 50)) - 2 * (THUMB**2 - frame) < 50  # letters have greys too
    assert area((0, 114, 178)) > 5 * (area(WRONG) - frame)


def test_a_single_query_and_long_names_fit():
    pictures = np.zeros((2, 1, 8, 8), dtype=np.uint8)
    names = ["an extraordinarily long name of a class", "b"]
    sheet = contact_sheet(names, pictures, np.array([0, 1]), pictures[:1], np.array([[1.0, 0.0]]))
    assert sheet.size[0] < 700
