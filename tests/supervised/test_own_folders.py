"""Runs on a folder of class folders, which may change after training."""

import shutil
from dataclasses import replace

import pytest
from PIL import Image

from metarl import cli
from metarl.configs import read_json, write_json
from metarl.supervised import preset, runs, training
from tests.supervised import front


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training, "RUNNING_EPISODES", 2)


def fill(folder, names):
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (16, 16), (20 * place, 60 * number, 0)).save(folder / name / f"{number}.png")
    return folder


def trained(folder, out, method="prototypical", **changes):
    usual = preset(method, "strokes", 2, 1)
    changes = {"way": 2, "query": 2, "tasks": 2} | changes
    config = replace(
        usual,
        backbone=replace(usual.backbone, channels=4),
        training=replace(usual.training, **changes),
    )
    if method == "classifier-baseline":
        config = replace(config, batch=8)
    experiment = front.experiment(out, way=2, episodes=8, image_size=16)
    return runs.train(method, replace(experiment, data=str(folder)), config, quiet=True)


@pytest.fixture
def grown(tmp_path):
    """A run, and its folder, in which classes have been added."""
    folder = fill(tmp_path / "mine", [f"leaf {letter}" for letter in "abcdefghij"])
    run = trained(folder, tmp_path / "runs", "classifier-baseline", tasks=1)
    fill(folder, [f"other {letter}" for letter in "klmnopqrstuvwxyz"])
    return run.path, folder


def test_a_training_does_not_go_on_with_other_classes(grown, capsys):
    path, folder = grown
    before = read_json(path / "run.json")
    assert cli.main(["fewshot", "train", "--resume", str(path), "--episodes", "16"]) == 2
    said = capsys.readouterr().err
    assert "was trained on 6 classes, but now its data have 17 to train on, of which" in said
    assert "train anew" in said
    assert read_json(path / "run.json").get("total") == before.get("total")
    config = read_json(path / "config.json")
    del config["class_names"]
    write_json(path / "config.json", config)
    with pytest.raises(ValueError, match="on 6 classes, but now its data have 17 to train on: put"):
        runs.resume(path, episodes=16, quiet=True)
    for letter in "klmnopqrstuvwxyz":
        shutil.rmtree(folder / f"other {letter}")
    assert runs.resume(path, episodes=16, quiet=True).run.info["reason"] == "finished"


def test_classes_that_were_trained_on_are_not_tested_on(grown, capsys):
    path, _ = grown
    flags = ["--query", "2", "--episodes", "4", "--quiet"]
    for split, said in (
        ("test", "test classes of its data were trained on"),
        ("train", "were not trained on"),
    ):
        assert cli.main(["fewshot", "evaluate", str(path), "--split", split, *flags]) == 2
        assert said in capsys.readouterr().err
    assert cli.main(["fewshot", "features", str(path), "--out", str(path / "features")]) == 2
    assert "were not trained on, such as" in capsys.readouterr().err
    config = read_json(path / "config.json")
    del config["class_names"]
    write_json(path / "config.json", config)
    assert cli.main(["fewshot", "evaluate", str(path), *flags]) == 0


def test_new_classes_in_the_test_folder_are_welcome(tmp_path):
    folder = fill(tmp_path / "mine", ["train/a", "train/b", "train/c", "val/d", "val/e", "test/f", "test/g"])
    run = trained(folder, tmp_path / "runs")
    fill(folder, ["test/h"])
    assert run.evaluate(query=2, episodes=4).protocol["classes"] == 3


def test_one_validation_class_chooses_no_state(tmp_path, caplog):
    folder = fill(tmp_path / "mine", ["train/a", "train/b", "train/c", "val/d", "test/e", "test/f"])
    run = trained(folder, tmp_path / "runs")
    assert "validation has 1 class" in caplog.text
    assert not (run.path / "checkpoints" / "best.json").exists()
    assert "fewshot/accuracy" not in run.run.metrics()
    assert run.evaluate(query=2, episodes=4).protocol["state"] == "newest"


def test_pictures_are_labelled_where_the_trainings_folder_is_no_more(tmp_path):
    folder = fill(tmp_path / "mine", ["train/a", "train/b", "train/c", "val/d", "val/e", "test/f", "test/g"])
    run = trained(folder, tmp_path / "runs")
    pictures = shutil.copytree(folder / "test", tmp_path / "kept")
    there = run.predict(pictures, [pictures / "f"])
    shutil.rmtree(folder)
    again = runs.open_run(run.path).predict(pictures, [pictures / "f"])
    assert again.labels == ["f", "g"]
    assert again.probabilities.tolist() == there.probabilities.tolist()
