"""Features of a trained network as files: the same numbers, in a form that other methods are trained on."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from metarl import cli
from metarl.configs import read_json, write_json
from metarl.supervised import runs
from metarl.supervised.building import load_split
from metarl.supervised.datasets import load
from metarl.supervised.feature_extraction import ORIGIN

SMALL = "--data strokes --way 3 --validation-episodes 5 --evaluate-every 1 --backbone.channels 4 --quiet"


def trained(name, out, *flags):
    arguments = ["fewshot", "train", name, *SMALL.split(), "--out", str(out), "--episodes", "2", *flags]
    assert cli.main(arguments) == 0
    (path,) = [each.parent for each in out.rglob("run.json")]
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained("prototypical", tmp_path_factory.mktemp("runs"), "--training.tasks", "1")


@pytest.fixture
def written(run, tmp_path, capsys):
    out = tmp_path / "of strokes"
    assert cli.main(["fewshot", "features", str(run), "--out", str(out)]) == 0
    return out, capsys.readouterr().out


def test_files_hold_what_the_network_makes_of_every_picture(run, written):
    out, said = written
    origin = read_json(out / "origin.json")
    assert (origin["run"], origin["data"]) == (str(run), "strokes")
    assert sorted(each.name for each in out.glob("*.safetensors")) == [
        "test.safetensors",
        "train.safetensors",
        "validation.safetensors",
    ]
    assert "train on them:  metarl fewshot train leo --data" in said
    trained_run = runs.open_run(run)
    model, _ = trained_run.method()
    for split in ("train", "validation", "test"):
        store, found = (
            load_split(trained_run.experiment, split, torch.device("cpu")),
            load_file(out / f"{split}.safetensors"),
        )
        assert (
            found["labels"].tolist()
            == torch.arange(store.num_classes).repeat_interleave(store.sizes).tolist()
        )
        index = torch.tensor([0, len(store) // 2, len(store) - 1])
        with torch.no_grad():
            wanted = model.module.net(store.pictures(index), statistics="running").flatten(1)
        torch.testing.assert_close(found["features"][index], wanted, rtol=1e-4, atol=1e-5)
        if store.rotations > 1:  # turned pictures come after the others, a turn at a time
            with torch.no_grad():
                wanted = model.module.net(
                    store.pictures(index, torch.full((3,), 2)), statistics="running"
                ).flatten(1)
            torch.testing.assert_close(
                found["features"][index + 2 * len(store)], wanted, rtol=1e-4, atol=1e-5
            )


def test_class_means_of_the_files_are_right_as_often_as_the_method(run, written):
    """A method without a network on the features is the method on the pictures: the same squared distances."""
    out, _ = written
    store = load(str(out), "test")
    assert store.image == (4, 1, 1)
    on_pictures = runs.open_run(run).evaluate(shot=2, query=5, episodes=400, statistics=("running",))
    shutil.rmtree(out.parent / "again", ignore_errors=True)
    flags = ("--backbone.name", "identity", "--training.tasks", "1")
    arguments = ["fewshot", "train", "prototypical", "--data", str(out), "--way", "3", "--episodes", "1"]
    more = ["--validation-episodes", "5", "--quiet", "--out", str(out.parent / "again")]
    assert cli.main([*arguments, *more, *flags]) == 0
    (path,) = [each.parent for each in (out.parent / "again").rglob("run.json")]
    on_files = runs.open_run(path).evaluate(shot=2, query=5, episodes=400)
    assert on_files.accuracy == pytest.approx(on_pictures.accuracy, abs=0.04)
    assert on_pictures.accuracy > 0.45  # chance is a third


def test_a_file_that_is_there_is_left_alone(run, written, capsys):
    out, _ = written
    before = (out / "test.safetensors").stat().st_mtime_ns
    assert cli.main(["fewshot", "features", str(run), "--out", str(out), "--splits", "test"]) == 2
    assert "test.safetensors exists already" in capsys.readouterr().err
    assert (out / "test.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("other", [{"steps": 1}, {"precision": "bfloat16"}])
def test_features_of_two_states_or_precisions_are_not_mixed(run, written, tmp_path, capsys, other):
    out = tmp_path / "features"
    shutil.copytree(written[0], out)
    (out / "test.safetensors").unlink()
    write_json(out / ORIGIN, {**read_json(out / ORIGIN), **other})
    assert cli.main(["fewshot", "features", str(run), "--out", str(out), "--splits", "test"]) == 2
    assert f"holds features of {next(iter(other))}" in capsys.readouterr().err


def test_features_of_two_runs_are_not_mixed(written, tmp_path, capsys):
    out, _ = written
    (out / "test.safetensors").unlink()
    other = trained("prototypical", tmp_path / "other", "--training.tasks", "1")
    assert cli.main(["fewshot", "features", str(other), "--out", str(out), "--splits", "test"]) == 2
    assert "holds features of another run" in capsys.readouterr().err


def test_networks_that_adapt_are_refused(tmp_path, capsys):
    path = trained("maml", tmp_path / "runs", "--training.tasks", "2")
    assert cli.main(["fewshot", "features", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "features of 'maml' depend on the episode" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said(run, capsys):
    assert cli.main(["fewshot", "features", str(run)]) == 2
    assert "needs RUN --out DIR" in capsys.readouterr().err
    assert cli.main(["fewshot", "features", str(run), "--out", "nowhere", "--splits"]) == 2
    assert "no splits were named" in capsys.readouterr().err
