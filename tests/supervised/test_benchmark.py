"""The benchmark: done once, gone on with, and a table that puts published numbers where they belong."""

import json
import re
from dataclasses import replace

import pytest

from metarl.supervised import benchmark, benchmark_plan, building, datasets, runs, training
from metarl.supervised.benchmark_plan import Benchmark, jobs
from metarl.supervised.benchmark_table import accuracy_cell, markdown, published, published_for
from tests.supervised import front

SETTINGS = ("5w1s", "5w5s", "20w1s", "20w5s")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(training, "RUNNING_EPISODES", 2)
    monkeypatch.setattr(runs, "illustrate", lambda *args: None)
    monkeypatch.setattr(benchmark_plan, "preset", lambda *args: front.config())
    return Benchmark(
        "strokes",
        methods=("prototypical",),
        settings=("5w1s", "5w5s"),
        updates=6,
        test_episodes=4,
        validation_episodes=4,
        out=str(tmp_path),
        device="cpu",
        quiet=True,
    )


def results(path):
    return json.loads(path.with_suffix(".json").read_text())["results"]


def test_what_is_done_is_not_done_again(plan, monkeypatch):
    table, done = benchmark.run(plan)
    assert done
    first = results(table)
    assert set(first) == {"prototypical/5w1s/seed 0", "prototypical/5w5s/seed 0"}
    assert [each["updates"] for each in first.values()] == [6, 6]
    monkeypatch.setattr(benchmark, "_work", lambda *args: pytest.fail("done again"))
    assert benchmark.run(plan) == (table, True)
    assert results(table) == first


def test_images_of_another_size_are_another_benchmark(plan):
    other = replace(plan, image_size=14)
    assert other.place.name == "strokes_small_14px_6updates" != plan.place.name
    assert {job.experiment.image_size for job in jobs(other)} == {14}
    table, done = benchmark.run(replace(other, settings=("5w1s",)))
    assert done
    assert list(results(table)) == ["prototypical/5w1s/seed 0"]


def test_two_at_once_keep_each_others_results(plan, monkeypatch):
    work = benchmark._work

    def meanwhile(*args):
        monkeypatch.setattr(benchmark, "_work", work)
        benchmark.run(replace(plan, settings=("5w5s",)))
        return work(*args)

    monkeypatch.setattr(benchmark, "_work", meanwhile)
    table, _ = benchmark.run(replace(plan, settings=("5w1s",)))
    assert set(results(table)) == {"prototypical/5w1s/seed 0", "prototypical/5w5s/seed 0"}


def test_more_test_episodes_use_the_trainings_that_are_there(plan, monkeypatch):
    benchmark.run(plan)
    monkeypatch.setattr(runs, "train", lambda *args, **kwargs: pytest.fail("trained again"))
    table, _ = benchmark.run(replace(plan, test_episodes=6))
    assert [each["protocol"]["episodes"] for each in results(table).values()] == [6, 6]


def test_other_seeds_and_settings_are_added(plan):
    benchmark.run(plan)
    table, _ = benchmark.run(replace(plan, settings=("5w1s",), seeds=(0, 1)))
    assert len(results(table)) == 3
    assert "(sd" in table.read_text()


def test_a_stopped_training_ends_it_and_is_gone_on_with(plan, monkeypatch):
    import os
    import signal

    collect, stopped = training.FewShotTraining.collect, []

    def interrupted(self, rng):
        if int(self.module.updates) == 3 and not stopped:
            stopped.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return collect(self, rng)

    monkeypatch.setattr(training.FewShotTraining, "collect", interrupted)
    table, done = benchmark.run(plan)
    assert (done, results(table)) == (False, {})
    assert "Nothing is done yet" in table.read_text()
    table, done = benchmark.run(plan)
    assert done
    first = results(table)["prototypical/5w1s/seed 0"]
    run = runs.open_run(first["run"])
    assert len(run.run.info["resumed"]) == 1
    assert len([each for each in (table.parent / "runs").rglob("run.json")]) == 2


def test_a_folder_is_the_same_data_wherever_one_is(plan, tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    near, far = (
        [job.settings for job in jobs(replace(plan, data=str(data)))]
        for data in ("pictures", tmp_path / "pictures")
    )
    assert near == far


def test_a_failure_is_noted_and_tried_again(plan, monkeypatch):
    evaluate = runs.FewShotRun.evaluate

    def refuse(self, **kwargs):
        if self.experiment.shot == 1:
            raise ValueError("no such thing")
        return evaluate(self, **kwargs)

    monkeypatch.setattr(runs.FewShotRun, "evaluate", refuse)
    table, done = benchmark.run(plan)
    assert done
    assert "prototypical 5w1s, seed 0: ValueError: no such thing" in table.read_text()
    monkeypatch.setattr(runs.FewShotRun, "evaluate", evaluate)
    table, _ = benchmark.run(plan)
    assert "Failed" not in table.read_text()


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError("images too small")])
def test_a_method_that_cannot_run_is_passed_over_with_its_reason(plan, monkeypatch, capsys, error):
    train = runs.train

    def refuse(method, *arguments, **more):
        if method == "siamese":
            raise error
        return train(method, *arguments, **more)

    monkeypatch.setattr(runs, "train", refuse)
    table, done = benchmark.run(replace(plan, methods=("siamese", "prototypical"), settings=("5w1s",)))
    assert done
    found = results(table)
    assert str(error) in found["siamese/5w1s/seed 0"]["error"]
    assert found["prototypical/5w1s/seed 0"]["updates"] == 6
    assert f"siamese/5w1s/seed 0 is passed over: {error}" in capsys.readouterr().out
    assert f"- siamese 5w1s, seed 0: {type(error).__name__}: {error}" in table.read_text()


def test_it_tells_where_it_is_and_how_long_all_will_take(plan, capsys):
    benchmark.run(replace(plan, settings=("5w1s",)))
    assert "1/1  prototypical/5w1s/seed 0  ? to go for all" in capsys.readouterr().out
    benchmark.run(plan)
    shown = capsys.readouterr().out
    assert "1 of 2 are done already" in shown
    assert re.search(r"^2/2  prototypical/5w5s/seed 0  \d+ s to go for all$", shown, re.MULTILINE)


def test_time_to_go_by_hand(plan):
    left = list(jobs(replace(plan, methods=("siamese", "triplet"))))
    assert len(left) == 4
    assert benchmark.seconds_to_go(left, {}) is None
    assert benchmark.seconds_to_go(left, {"siamese": [10.0, 20.0], "maml": [90.0]}) == 2 * 15 + 2 * 40
    assert benchmark.seconds_to_go(left[3:], {"triplet": [7.0]}) == 7


def test_missing_data_end_it_at_once(plan):
    with pytest.raises(ValueError, match="stroks"):
        benchmark.run(replace(plan, data="stroks"))


def test_the_budgets(plan):
    small = [job.experiment.episodes for job in jobs(replace(plan, updates=None))]
    assert small == [2 * benchmark_plan.SMALL_UPDATES] * 2  # two tasks to an update
    paper = [job.experiment.episodes for job in jobs(replace(plan, updates=None, budget="paper"))]
    assert paper == [2 * benchmark_plan.PAPER_DEFAULT] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("protypical",)}, "did you mean 'prototypical'"),
        ({"settings": ("5w1",)}, "unknown setting '5w1'"),
        ({"budget": "huge"}, "unknown budget"),
        ({"seeds": ()}, "seeds is empty"),
        ({"updates": 0}, "updates=0"),
        ({"test_episodes": 1}, "test_episodes=1"),
        ({"validation_episodes": 1}, "validation_episodes=1, expected 2"),
    ],
)
def test_what_makes_no_sense_is_refused(plan, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(plan, **changes)


def result(method, setting, rows, seed=0):
    summary = [{"statistics": mode, "accuracy": a, "interval": i, "loss": 0.0} for mode, a, i in rows]
    return {
        "method": method,
        "setting": setting,
        "seed": seed,
        "summary": summary,
        "test_episodes": 600,
        "updates": 7,
    }


def row(table, *starts):
    (line,) = [
        each for each in table.splitlines() if [part.strip() for part in each.split("|")[1:3]] == list(starts)
    ]
    return [part.strip() for part in line.split("|")[3:-1]]


def test_published_numbers_stand_beside_rows_of_their_kind():
    table = markdown(
        "omniglot",
        "paper",
        [
            result("prototypical", "5w1s", [("running", 0.985, 0.001), ("transductive", 0.99, 0.001)]),
            result("reptile", "5w1s", [("transductive", 0.97, 0.001), ("one_query", 0.95, 0.001)]),
            result("own-idea", "20w1s", [("none", 0.5, 0.01)]),
        ],
    )
    assert row(table, "prototypical", "running") == ["98.50 ± 0.10", "98.80", "–", "96.00"]
    assert row(table, "prototypical", "transductive") == ["99.00 ± 0.10", "–", "–", "–"]
    assert row(table, "reptile", "transductive")[1] == "97.68"
    assert row(table, "reptile", "one_query")[1] == "95.39"
    assert row(table, "own-idea", "none") == ["–", "–", "50.00 ± 1.00", "–"]
    assert "Snell, Swersky & Zemel 2017" in table
    assert "E = 600 episodes" in table


def test_updates_are_told_apart_where_they_differ():
    rows = [("none", 0.5, 0.01)]
    many = [
        result("a", "5w1s", rows),
        result("a", "5w5s", rows) | {"updates": 1_500},
        result("b", "5w1s", rows),
    ]
    assert "Updates: a 7 at 5w1s, 1,500 at 5w5s; b 7." in markdown("strokes", "small", many)
    assert "Updates: a 7." in markdown("strokes", "small", many[:1])


def test_several_seeds_show_their_deviation():
    rows = [{"accuracy": 0.8, "interval": 0.03}, {"accuracy": 0.9, "interval": 0.04}]
    assert accuracy_cell(rows) == "85.00 ± 3.54 (sd 7.07)"


def test_published_numbers_are_whole():
    """Keys, ranges, names of data sets; and what could not be verified is not there."""
    for entries in published().values():
        for entry in entries:
            assert entry.keys() == {"data", "source", "protocol", "transductive", "accuracy"}
            assert entry["data"] in datasets.DATASETS
            assert entry["accuracy"].keys() <= set(SETTINGS)
            for number in entry["accuracy"].values():
                assert 20 < number["accuracy"] < 100
                assert number["interval"] is None or 0 < number["interval"] < 2
    assert published_for("prototypical", "mini-imagenet", False, True)["accuracy"]["5w5s"]["accuracy"] == 68.2
    assert "gaussian-prototypical" not in published()
    for method in ("versa", "meta-sgd", "maml++"):
        omniglot = published_for(method, "omniglot", True, True)
        assert omniglot["accuracy"].keys() == {"5w1s", "5w5s"}
