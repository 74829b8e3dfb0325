"""Lifetimes as an evaluation: which are lived, what the numbers say, how runs are pooled. The agents are made up."""

import json
import re

import numpy as np
import pytest

from metarl.agents.lifetime_evaluation import LifetimeEvaluation, read, summary, table
from metarl.agents.lifetimes import choose_lifetimes, judge, lifetime_groups, lifetime_text
from metarl.agents.lives import Lives, episode_seeds, lifetime_metrics
from metarl.agents.rollouts import make_world
from metarl.runs import Run

PAIRS = ([1, 2], [3, 4])


class Tasks:
    split_hash = "abc"

    def name(self, task):
        return {(1, 2): "back"}.get(tuple(task["legs"]), "")


class Env:
    """What `judge` asks of a world; lifetimes of three episodes."""

    tasks, horizon = Tasks(), 5

    def __init__(self, schedule=True, finite=True):
        self.schedule, self.finite = schedule, finite

    def sample_lifetimes(self, num, split="train", rng=None):
        if not self.schedule:
            raise ValueError("this world has no schedule: make it with lifetime=")
        return [[{"goal": [float(rng.normal()), float(e)]} for e in range(3)] for _ in range(num)]

    def enumerate_lifetimes(self, split):
        if not self.finite:
            raise ValueError("infinitely many")
        return [[{"legs": pair, "torque": t} for t in (1.0, 0.5, 0.0)] for pair in PAIRS]


class Made:
    """An agent that earns 100 times the torque, 10 times the leg, and more when it adapts."""

    methods = ("adaptation", "none")

    def __init__(self, bonus=1.0, env=None):
        self.env, self.bonus, self.starts = env or Env(), bonus, {name: [] for name in self.methods}

    def live(self, lifetimes, rng, method, keep_actions=False):
        seeds = episode_seeds(rng, len(lifetimes), 3)
        self.starts[method].append(seeds)
        returns = np.array([[100 * t["torque"] + 10 * t["legs"][0] for t in each] for each in lifetimes])
        returns = returns + (self.bonus if method == "adaptation" else 0) + rng.normal(size=returns.shape)
        speed = np.full(returns.shape, 0.5)
        speed[:, 0] = np.nan
        return Lives(returns, {"speed": speed})


def run_at(root, seed=1):
    return Run.create(root, "metarl/Toy-v0", "toy", seed, {})


def protocol(seed=1, agent="toy", **config):
    return {"agent": agent, "world": "w", "training_seed": seed, "config": config}


def test_every_lifetime_is_lived_that_often_and_methods_start_alike(tmp_path):
    agent = Made(bonus=50.0)
    found = judge(run_at(tmp_path), agent, protocol(), lifetimes=30, quiet=True)
    assert found.groups == ["legs 1 2: back", "legs 3 4"]
    assert list(found.scores) == ["toy", "toy, not adapting"]
    assert found.scores["toy"].shape == (2, 30, 3)
    np.testing.assert_allclose(found.scores["toy"].mean(1)[0], [160, 110, 60], atol=1)
    np.testing.assert_allclose(found.scores["toy, not adapting"].mean(1)[1], [130, 80, 30], atol=1)
    assert found.measures["toy"]["speed"].shape == (2, 30, 3)
    starts = agent.starts["adaptation"]
    assert sum(each.shape[1] for each in starts) == 60
    for one, other in zip(starts, agent.starts["none"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({each.tobytes() for each in starts}) == len(starts)
    again = judge(run_at(tmp_path), Made(50.0), protocol(), lifetimes=30, methods=["none"], quiet=True)
    np.testing.assert_array_equal(again.scores["toy, not adapting"], found.scores["toy, not adapting"])


def test_more_lifetimes_leave_the_first_as_they_were(tmp_path):
    few, many = (judge(run_at(tmp_path), Made(), protocol(), lifetimes=n, quiet=True) for n in (25, 50))
    np.testing.assert_array_equal(few.scores["toy"], many.scores["toy"][:, :25])


def test_the_summary_is_a_mean_with_its_interval():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 100, 3)) + np.array([10.0, 20.0])[:, None, None]
    rows = LifetimeEvaluation({"a": scores}, ["x", "y"], protocol()).summary()
    assert [row["group"] for row in rows] == ["x"] * 3 + ["y"] * 3 + ["all"] * 3
    assert [row["episode"] for row in rows[:3]] == [1, 2, 3]
    first, both = rows[0], rows[6]
    assert first["mean"] == pytest.approx(scores[0, :, 0].mean())
    error = scores[0, :, 0].std() / 10
    assert first["high"] - first["mean"] == pytest.approx(1.96 * error, rel=0.15)
    assert both["mean"] == pytest.approx(scores[..., 0].mean())
    # between groups nothing varies: pooling without strata would give an interval about 20 times as wide
    half = 1.96 * np.sqrt((scores[..., 0].var(axis=1) / 100).sum()) / 2
    assert both["high"] - both["mean"] == pytest.approx(half, rel=0.15)


def test_runs_of_one_agent_are_pooled_and_others_told_apart():
    def one(seed, value, agent="toy", **config):
        scores = {agent: np.full((1, 4, 2), value), f"{agent}, not adapting": np.zeros((1, 4, 2))}
        return LifetimeEvaluation(scores, ["x"], protocol(seed, agent, **config))

    rows = summary([one(1, 1.0), one(2, 3.0), one(1, 9.0, "ppo")])
    found = {(row["method"], row["group"]): row["mean"] for row in rows if row["episode"] == 1}
    assert found["toy", "x"] == 2.0
    assert found["ppo", "x"] == 9.0
    assert len(found) == 4
    rows = summary([one(1, 1.0, inner={"lr": 0.1}), one(1, 3.0, inner={"lr": 0.2}), one(1, 9.0, "ppo")])
    assert list(dict.fromkeys(row["method"] for row in rows)) == [
        "toy (inner.lr 0.1)",
        "toy (inner.lr 0.1), not adapting",
        "toy (inner.lr 0.2)",
        "toy (inner.lr 0.2), not adapting",
        "ppo",
        "ppo, not adapting",
    ]


@pytest.mark.parametrize(
    ("what", "match"),
    [
        ("world", "different world"),
        ("schedule", "different schedule"),
        ("world_options", "different world_options"),
    ],
)
def test_what_cannot_be_compared_is_refused(what, match):
    scores = {"a": np.zeros((1, 2, 2))}
    one, other = (LifetimeEvaluation(scores, ["x"], protocol() | {what: value}) for value in ("u", "v"))
    with pytest.raises(ValueError, match=match):
        summary([one, other])
    with pytest.raises(ValueError, match="different groups"):
        summary([one, LifetimeEvaluation(scores, ["y"], one.protocol)])


def test_evaluations_of_before_the_options_of_the_world_were_noted_are_compared_with_others():
    scores = {"a": np.zeros((1, 2, 2))}
    noted = protocol() | {"world_options": {"control_cost": 0.2}}
    assert summary([LifetimeEvaluation(scores, ["x"], each) for each in (protocol(), noted)])


def test_measures_have_a_summary_and_unknown_ones_a_hint(tmp_path):
    found = judge(run_at(tmp_path), Made(), protocol(), lifetimes=3, quiet=True)
    rows = found.summary("speed")
    assert rows[0]["mean"] is None  # no number in episode 1
    assert rows[1]["mean"] == 0.5
    assert "| -" in table(rows)
    with pytest.raises(ValueError, match="did you mean 'speed'"):
        found.summary("sped")


def test_everything_survives_json(tmp_path):
    found = judge(run_at(tmp_path), Made(), protocol(), lifetimes=3, quiet=True)
    path = tmp_path / "lifetimes.json"
    path.write_text(json.dumps(found.to_json(), allow_nan=False))
    again = read(path)
    assert again.summary() == found.summary()
    np.testing.assert_array_equal(again.measures["toy"]["speed"], found.measures["toy"]["speed"])
    path.write_text("{}")
    with pytest.raises(ValueError, match="no evaluation of lifetimes"):
        read(path)


def test_the_table_has_a_block_for_each_group():
    scores = np.array([[[1.0, 200.0], [1.0, 240.0]]])
    both = np.concatenate([scores, scores])
    text = LifetimeEvaluation({"a": both, "b": both}, ["x", "y"], protocol()).table()
    assert text.count("episode 1") == 3
    text = LifetimeEvaluation({"a": scores, "b": scores}, ["x"], protocol()).table()
    assert text.count("episode 1") == 1
    assert text.startswith("**x**")
    assert "| a      |  1 [1, 1] | 220 [200, 240] |" in text
    text = LifetimeEvaluation({"a": scores[:, :1]}, ["x"], protocol()).table()
    assert "1.000 [-] | 200.000 [-]" in text  # one lifetime has no interval
    alone = LifetimeEvaluation({"a": scores}, ["all"], protocol()).table()
    assert alone.startswith("| method")


def test_lifetimes_are_drawn_where_there_are_too_many():
    names, groups = choose_lifetimes(Env(finite=False), 4, "test", np.random.default_rng(0))
    assert names == ["all"]
    assert [len(each) for each in groups] == [4]
    assert groups[0][0] != groups[0][1]


def test_a_world_without_a_schedule_says_how_to_give_one(tmp_path):
    how = """--lifetime '{"schedule": "redraw", "episodes": 10}'"""
    with pytest.raises(ValueError, match=re.escape(how)):
        judge(run_at(tmp_path), Made(env=Env(schedule=False)), protocol(), quiet=True)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'adaptation'"):
        judge(run_at(tmp_path), Made(), protocol(), methods=["adaption"], quiet=True)
    with pytest.raises(ValueError, match="lifetimes=0"):
        judge(run_at(tmp_path), Made(), protocol(), lifetimes=0, quiet=True)
    with pytest.raises(ValueError, match="cannot live"):
        judge(run_at(tmp_path), object(), protocol(), quiet=True)


def test_what_a_lifetime_is_called():
    def call(*tasks):
        return lifetime_text(list(tasks))

    assert call({"legs": [1, 2], "torque": 1.0}, {"legs": [1, 2], "torque": 0.0}) == "legs 1 2"
    assert call({"direction": 1.0}, {"direction": -1.0}) == "direction 1 to direction -1"


def test_lifetimes_of_one_name_have_means_of_their_own():
    lifetimes = [[{"legs": pair, "torque": t} for t in (1.0, 0.5)] for pair in (*PAIRS, PAIRS[0])]
    lives = Lives(
        np.array([[0.0, 10.0], [3.0, 30.0], [2.0, 20.0]]),
        {"speed": np.array([[np.nan, 1.0], [np.nan, 4.0], [np.nan, np.nan]])},
    )
    assert lifetime_metrics(lives, lifetimes) == {
        "lifetime/return_1": pytest.approx(5 / 3),
        "lifetime/return_2": 20.0,
        "lifetime/legs 1 2/return_1": 1.0,
        "lifetime/legs 1 2/return_2": 15.0,
        "lifetime/legs 3 4/return_1": 3.0,
        "lifetime/legs 3 4/return_2": 30.0,
        "lifetime/speed_2": 2.5,
    }


def test_the_worlds_own_lifetimes_are_named():
    env = make_world("metarl/HexapodLegFailure-v0", 1)
    names, groups = choose_lifetimes(env, 2, "test", np.random.default_rng(0))
    assert names == ["legs 1 2: back", "legs 3 4: middle", "legs 5 6: front"]
    assert [[task["legs"] for task in each[0]] for each in groups] == [
        [pair] * 7 for pair in ([1, 2], [3, 4], [5, 6])
    ]
    assert lifetime_groups(env) == ["legs 1 2", "legs 3 4", "legs 5 6"]
    names, _ = choose_lifetimes(env, 1, "train", np.random.default_rng(0))
    assert len(names) == 12
    assert "legs 1 4" in names
    assert lifetime_groups(make_world("metarl/PointNavigation-v0", 1)) is None


def test_tensorboard_shows_lives_by_episode(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = run_at(tmp_path)
    judge(run, Made(), protocol(), lifetimes=4, quiet=True)
    found = judge(run, Made(), protocol(), lifetimes=6, quiet=True)  # replaces what was there
    board = EventAccumulator(str(run.path / "lifetimes" / "none"))
    board.Reload()
    shown = board.Scalars("lifetime/return")
    assert [each.step for each in shown] == [1, 2, 3]
    expected = found.scores["toy, not adapting"].mean(axis=(0, 1))
    assert [each.value for each in shown] == pytest.approx(expected.tolist(), rel=1e-5)
    assert [each.value for each in board.Scalars("lifetime/legs 1 2/return")] == pytest.approx(
        found.scores["toy, not adapting"][0].mean(axis=0).tolist(), rel=1e-5
    )
    assert [each.step for each in board.Scalars("lifetime/speed")] == [2, 3]
    assert (run.path / "lifetimes" / "adaptation").is_dir()


def test_progress_has_an_estimate_of_the_time_left(tmp_path, capsys):
    judge(run_at(tmp_path), Made(), protocol(), lifetimes=30)
    shown = capsys.readouterr().out
    assert "to go" in shown
    assert "1,800/1,800 steps (100%)" in shown  # 2 methods, 2 groups, 30 lifetimes, 3 episodes, 5 steps
