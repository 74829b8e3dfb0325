"""The run folder: its layout, its numbers, what is said about folders that hold no run."""

import json
import math
import subprocess

import pytest

from metarl import provenance
from metarl.metrics_csv import MetricsCSV, read_metrics
from metarl.runs import Run, find


def make(root, seed=1, world="metarl/Toy-v0", agent="toy"):
    return Run.create(root, world, agent, seed, {"lr": 0.1, "nested": {"a": [1, 2]}})


def test_layout(tmp_path):
    run = make(tmp_path)
    assert run.path.parent == tmp_path / "Toy-v0" / "toy"
    assert run.path.name.endswith("_s1")
    assert json.loads((run.path / "config.json").read_text()) == {"lr": 0.1, "nested": {"a": [1, 2]}}
    info = json.loads((run.path / "run.json").read_text())
    assert (info["world"], info["agent"], info["seed"], info["reason"]) == (
        "metarl/Toy-v0",
        "toy",
        1,
        "running",
    )
    assert info["started"]
    assert info["ended"] is None
    assert {"python", "torch", "numpy"} <= info["versions"].keys()
    assert {"host", "processor", "cores", "gpus"} <= info["hardware"].keys()
    assert run.checkpoints.is_dir()
    assert run.videos.is_dir()


def test_runs_of_the_same_second_never_share_a_folder(tmp_path):
    paths = {make(tmp_path).path for _ in range(4)}
    assert len(paths) == 4
    assert all(path.is_dir() for path in paths)


def test_ids_of_others_become_one_folder(tmp_path):
    assert make(tmp_path, world="other/Name-v0").path.parent.parent == tmp_path / "other-Name-v0"
    assert make(tmp_path, world="../../x").path.parent.parent.parent == tmp_path


def test_numbers_go_to_csv_and_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = make(tmp_path)
    run.log({"a/x": 0.1, "n": 3}, 10)
    run.log({"a/x": 1 / 3, "eval/y": float("nan")}, 20)
    run.finish("finished")
    again = Run.open(run.path)
    metrics = again.metrics()
    assert metrics["step"] == [10, 20]
    assert metrics["a/x"] == [0.1, 1 / 3]  # the same bits
    assert metrics["n"][0] == 3
    assert math.isnan(metrics["n"][1])
    assert again.info["reason"] == "finished"
    assert again.info["ended"]
    board = EventAccumulator(str(run.path))
    board.Reload()
    assert [(each.step, each.value) for each in board.Scalars("a/x")] == [
        (10, pytest.approx(0.1)),
        (20, pytest.approx(1 / 3)),
    ]


def test_opening_writes_nothing(tmp_path):
    run = make(tmp_path)
    before = sorted(run.path.iterdir())
    opened = Run.open(run.path / "run.json")
    assert opened.metrics() == {}
    assert opened.config["lr"] == 0.1
    assert sorted(run.path.iterdir()) == before


def test_what_is_no_run_names_runs_nearby(tmp_path):
    run = make(tmp_path)
    with pytest.raises(ValueError, match=f"is not a run.*did you mean '{run.path}'"):
        Run.open(tmp_path / "Toy-v0")
    other = make(tmp_path, seed=2)
    with pytest.raises(ValueError, match="newest of 2 nearby") as raised:
        Run.open(tmp_path)
    assert str(other.path) in str(raised.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no runs nearby"):
        Run.open(tmp_path / "empty")
    assert {each.path for each in find(tmp_path)} == {run.path, other.path}


def test_columns_may_appear_later(tmp_path):
    table = MetricsCSV(tmp_path / "m.csv")
    table.append(1, {"a": 1.5})
    table.append(2, {"b,c": 2.5, "a": 2.0})
    table.append(3, {"a": 3.0})
    table.close()
    assert (tmp_path / "m.csv").read_text() == 'step,a,"b,c"\n1,1.5,\n2,2.0,2.5\n3,3.0,\n'
    assert table.rows == 3


def test_a_broken_last_line_is_forgotten(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("step,a\n1,1.5\n2,2.")
    assert read_metrics(path) == {"step": [1.0], "a": [1.5]}
    table = MetricsCSV(path)
    assert table.rows == 1
    table.append(2, {"a": 7.0})
    table.close()
    assert path.read_text() == "step,a\n1,1.5\n2,7.0\n"


def test_cutting_back_drops_columns_that_came_later(tmp_path):
    table = MetricsCSV(tmp_path / "m.csv")
    table.append(1, {"a": 1.0})
    table.append(2, {"a": 2.0, "late": 1.0})
    table.cut(1)
    assert (tmp_path / "m.csv").read_text() == "step,a\n1,1.0\n"
    table.append(2, {"other": 1.0})
    table.cut(0)
    table.close()
    assert (tmp_path / "m.csv").read_text() == ""


def test_git_state_and_diff(tmp_path):
    repository = tmp_path / "project"
    repository.mkdir()

    def git(*words):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", str(repository), *identity, *words], check=True, capture_output=True)

    git("init", "-q")
    (repository / "a.py").write_text("one\n")
    git("add", "a.py")
    git("commit", "-q", "-m", "x")
    clean = next(each for each in provenance.git(repository, tmp_path) if each["name"] == "project")
    assert (clean["dirty"], clean["diff"], len(clean["commit"])) == (False, None, 40)
    (repository / "a.py").write_text("two\n")
    dirty = next(each for each in provenance.git(repository, tmp_path) if each["name"] == "project")
    assert dirty["dirty"]
    assert "+two" in (tmp_path / dirty["diff"]).read_text()
    (repository / "new.py").write_text("three\n")
    (repository / "notes.txt").write_text("four\n")
    written = provenance.git(repository, tmp_path)
    diff = (tmp_path / next(each for each in written if each["name"] == "project")["diff"]).read_text()
    assert "+two" in diff
    assert "+three" in diff
    assert "four" not in diff
    (repository / "new.py").unlink()
    provenance.git(repository, tmp_path, "-resumed-1")
    assert "+three" in (tmp_path / "git-project.diff").read_text()
    assert "+three" not in (tmp_path / "git-project-resumed-1.diff").read_text()


def test_repositories_of_one_name_have_diffs_of_their_own(tmp_path, monkeypatch):
    roots = iter(["/a/main", "/b/main"])
    monkeypatch.setattr(
        provenance, "_git", lambda place, *words, **codes: next(roots) if "--show-toplevel" in words else "x"
    )
    monkeypatch.setattr(provenance, "_difference", lambda root: f"of {root}")
    names = [each["diff"] for each in provenance.git("somewhere", tmp_path)]
    assert [(tmp_path / name).read_text().strip() for name in names] == ["of /a/main", "of /b/main"]


def test_outside_a_repository_there_is_no_git_state(tmp_path):
    assert all(each["name"] != tmp_path.name for each in provenance.git(tmp_path, tmp_path))


def test_what_ends_a_run_is_written_even_if_a_file_cannot_be_closed(tmp_path, monkeypatch):
    run = make(tmp_path)
    run.log({"a": 1.0}, 1)
    monkeypatch.setattr(run._board, "close", lambda: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run.finish("failed", "why")
    assert Run.open(run.path).info["reason"] == "failed"


def test_a_new_total_is_kept(tmp_path):
    run = make(tmp_path)
    assert run.total(None, 40) == 40
    assert run.total(90, 40) == 90
    assert Run.open(run.path).total(None, 40) == 40  # not before the training goes on
    run.rewind(0, 0)
    assert Run.open(run.path).total(None, 40) == 90


@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_damaged_runs_are_named_and_passed_over_among_others(tmp_path, name, caplog):
    whole, broken = make(tmp_path / "a"), make(tmp_path / "b")
    (broken.path / name).write_text("[]")
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        Run.open(broken.path)
    assert [run.path for run in find(tmp_path)] == [whole.path]
    assert "passing over a run" in caplog.text


@pytest.mark.parametrize("content", [b"step,a\n1,word\n", b"step,a\n1,\xff\n"])
def test_a_damaged_table_is_named(tmp_path, content):
    run = make(tmp_path)
    (run.path / "metrics.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged"):
        run.metrics()
