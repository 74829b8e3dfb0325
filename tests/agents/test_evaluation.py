"""What an evaluation says of its scores."""

import numpy as np

from metarl.agents.evaluation import Evaluation
from metarl.statistics import interquartile_mean


def evaluation(num_tasks):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(10, num_tasks, 2)) + np.array([0.0, 100.0])
    return Evaluation(scores, [{"velocity": float(i)} for i in range(num_tasks)], {"world": "w"})


def test_summary_has_a_row_per_task_and_step_and_rows_over_all():
    rows = evaluation(2).summary()
    assert [(row["task"], row["step"]) for row in rows] == [
        ("velocity 0", 0),
        ("velocity 0", 1),
        ("velocity 1", 0),
        ("velocity 1", 1),
        ("all", 0),
        ("all", 1),
    ]
    for row in rows:
        assert row["low"] < row["iqm"] < row["high"]
        assert abs(row["iqm"] - 100 * row["step"]) < 2


def test_summary_over_all_is_the_interquartile_mean_of_every_score():
    judged = evaluation(3)
    row = next(row for row in judged.summary() if row["task"] == "all" and row["step"] == 1)
    assert row["iqm"] == float(interquartile_mean(judged.scores[..., 1]))


def test_many_tasks_are_told_together():
    assert {row["task"] for row in evaluation(9).summary()} == {"all"}


def test_table_has_a_column_per_inner_step():
    lines = evaluation(2).table().splitlines()
    assert len(lines) == 2 + 3
    assert "before" in lines[0]
    assert "after 1" in lines[0]


def test_one_repeat_has_no_interval():
    judged = Evaluation(np.array([[[1.0, 3.0]]]), [{"velocity": 1.0}], {})
    assert judged.table().splitlines()[-1].split("|")[2:4] == [" 1.0 [-] ", " 3.0 [-] "]
