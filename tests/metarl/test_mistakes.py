"""A user's mistakes that are found before long work, and work that is interrupted."""

import errno
import json
import os

import numpy as np
import pytest
from PIL import Image

from metarl import checkpoints, cli, videos
from metarl.commands.errors import is_users_mistake, message_of
from metarl.files import write_atomically
from metarl.runs import Run, find
from metarl.training import ending_noted


def frames(number):
    for value in range(number):
        yield np.full((16, 16, 3), value, np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_an_interrupted_film_leaves_the_old_one(suffix, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / f"film{suffix}"
    path.write_bytes(b"old")

    def interrupted():
        yield from frames(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        videos.write_video(path, interrupted(), 10)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    videos.write_video(path, frames(5), 10)
    assert len(path.read_bytes()) > 50
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("error", "reason"), [(KeyboardInterrupt(), "stopped"), (OSError("full"), "failed")])
def test_a_run_that_ends_before_training_says_so(error, reason, tmp_path, capsys):
    run = Run.create(tmp_path, "metarl/Toy-v0", "promp", 1, {})
    with pytest.raises(type(error)), ending_noted(run):
        raise error
    kept = Run.open(run.path).info
    assert kept["reason"] == reason
    assert kept["ended"]
    assert (f"metarl train --resume {run.path}" in capsys.readouterr().err) == (reason == "stopped")


def test_an_end_that_was_noted_stays_as_it_is(tmp_path):
    run = Run.create(tmp_path, "metarl/Toy-v0", "promp", 1, {})
    run.finish("diverged", "a loss")
    with pytest.raises(RuntimeError), ending_noted(run):
        raise RuntimeError
    assert Run.open(run.path).info["reason"] == "diverged"


def test_no_checkpoint_and_damaged_ones_are_told_apart(tmp_path):
    run = Run.create(tmp_path, "metarl/Toy-v0", "promp", 1, {}, "metarl fewshot train")
    with pytest.raises(ValueError, match=r"no checkpoint yet; .* metarl fewshot train --resume"):
        run.newest_checkpoint()
    place = run.checkpoints / "step_000000001"
    checkpoints.save(place, {}, {})
    assert run.newest_checkpoint() == place
    place.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match=r"none of the checkpoints of .* can be read"):
        run.newest_checkpoint()


@pytest.fixture
def trained(tmp_path):
    words = [
        "train",
        "promp",
        "--world",
        "PointNavigation-v0",
        "--steps",
        "40",
        "--quiet",
        "--evaluate-every",
        "0",
    ]
    more = [
        "--sampling.tasks",
        "2",
        "--sampling.trajectories",
        "2",
        "--sampling.horizon",
        "5",
        "--policy.hidden",
        "4",
    ]
    assert cli.main([*words, *more, "--out", str(tmp_path / "runs")]) == 0
    (run,) = find(tmp_path / "runs")
    return run


def test_all_runs_of_a_comparison_are_looked_at_before_the_first_lives(trained, tmp_path, capsys):
    untrained = Run.create(tmp_path / "other", "metarl/PointNavigation-v0", "promp", 1, trained.config)
    lifetime = json.dumps({"schedule": "redraw", "episodes": 2})
    words = ["evaluate", str(trained.path), str(untrained.path), "--lifetimes", "1", "--lifetime", lifetime]
    assert cli.main(words) == 2
    assert "has no checkpoint yet" in capsys.readouterr().err
    assert not (trained.path / "lifetimes.json").exists()
    assert cli.main([*words[:2], *words[3:], "--out", str(tmp_path / "x.txt")]) == 2
    assert "got the suffix '.txt', expected png, svg or pdf" in capsys.readouterr().err
    assert not (trained.path / "lifetimes.json").exists()
    assert cli.main([*words[:2], *words[3:], "--inner-steps", "7"]) == 2
    assert "--inner-steps goes without --lifetimes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "promp", "--world", "nomodule:Foo-v0"], "there is no module 'nomodule'"),
        (["train", "promp", "--world", "os.nothing:Foo-v0"], "there is no module 'os.nothing'"),
        (["render", "--world", "nomodule:Foo-v0"], "there is no module 'nomodule'"),
        (["render", "--world", "PointNavigation-v0", "--seconds", "nan"], "--seconds nan, expected"),
        (["render", "--world", "PointNavigation-v0", "--seconds", "inf"], "--seconds inf, expected"),
        (
            ["train", "promp", "--world", "PointNavigation-v0", "--seed", str(2**63)],
            "expected less than 2^63",
        ),
        (["fewshot", "train", "maml", "--data", "strokes", "--seed", str(2**63)], "expected less than 2^63"),
    ],
)
def test_mistakes_end_with_a_sentence(words, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--method", "protoypical"], ["--episodes", "0"], ["--seed", "-1"]])
def test_a_demonstration_that_is_refused_says_nothing_before(wrong, capsys, tmp_path):
    assert cli.main(["fewshot", "demo", *wrong, "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("metarl: ")


def test_what_a_users_own_module_lacks_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "own_world_with_a_gap.py").write_text("import not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        cli.main(["train", "promp", "--world", "own_world_with_a_gap:Foo-v0"])


def test_a_picture_that_is_too_large_is_named(tmp_path, monkeypatch):
    from metarl.supervised.datasets.reading import Reading, one

    path = tmp_path / "wide.png"
    Image.new("L", (30, 30)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"wide\.png is not an image that can be read .*exceeds limit"):
        one(path, Reading(1, False), 28, "wide.png")


def test_where_a_contact_sheet_cannot_go_is_said_before_it_is_drawn(tmp_path):
    from metarl.supervised.prediction import check_sheet

    assert check_sheet(tmp_path / "sheet.PNG").name == "sheet.PNG"
    for out in (tmp_path, tmp_path / "sheet", tmp_path / "sheet.txt"):
        with pytest.raises(ValueError, match=r"ends in \.png"):
            check_sheet(out)


def test_a_full_disk_is_named_with_the_way_to_go_on(monkeypatch, tmp_path):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / "x", b"data")
    assert is_users_mistake(caught.value)
    assert message_of(caught.value).startswith(f"{tmp_path / 'x'}: No space left on device; make room.")
    assert is_users_mistake(OSError(errno.ENOSPC, "full"))
    assert not is_users_mistake(OSError("something else"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["train", "promp", "--resume", "runs/x"], ["fewshot", "train", "maml", "--resume", "runs/x"]]
)
def test_going_on_with_a_run_needs_no_name(words, capsys):
    assert cli.main(words) == 2
    name = words[-3]
    assert f"leave out '{name}'" in capsys.readouterr().err


def test_a_config_of_the_other_kind_says_which_command_takes_it(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"method": "maml", "experiment": {}, "config": {}}))
    assert cli.main(["train", "--config", str(path)]) == 2
    assert f"use `metarl fewshot train --config {path}`" in capsys.readouterr().err
    path.write_text(json.dumps({"agent": "promp", "experiment": {}, "config": {}}))
    assert cli.main(["fewshot", "train", "--config", str(path)]) == 2
    assert f"use `metarl train --config {path}`" in capsys.readouterr().err
