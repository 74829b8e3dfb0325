import importlib
import json
import sys
from pathlib import Path

import pytest

from metarl.tables import markdown_table

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
tables, learning_tables = importlib.import_module("tables"), importlib.import_module("learning_tables")

PAGE = "# Page\n<!-- results:learning -->\nold\n<!-- end -->\nrest\n<!-- results:worlds -->\nkept\n<!-- end -->\n"
RUN = {
    "tasks": [{"direction": 1.0}, {"direction": -1.0}],
    "minutes": 3.0,
    "steps": 1000.0,
    "git": [{"commit": "0123456789abcdef", "dirty": False}],
    "hardware": {"processor": "A chip", "cores": 2, "gpus": []},
}
FOUND = {
    "command": "metarl train promp --world CheetahDir-v0 --steps 1000",
    "runs": [  # scores of one repeat, two tasks, before and after one step
        {**RUN, "seed": 1, "scores": [[[-1, 20], [-3, 40]]]},
        {**RUN, "seed": 2, "scores": [[[-1, 20], [-3, 40]]]},
    ],
}


def test_marks_are_filled_from_the_results(tmp_path):
    (tmp_path / "learning_x.json").write_text(json.dumps(FOUND))
    page = tables.filled(PAGE, tmp_path)
    assert "old" not in page
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("| Ch")
    ]
    assert rows[0][:5] == ["CheetahDir-v0", "promp", "direction 1", "-1.0 [-1.0, -1.0]", "20.0 [20.0, 20.0]"]
    assert rows[2][2:5] == ["all", "-2.0 [-2.0, -2.0]", "30.0 [30.0, 30.0]"]
    assert rows[0][-2:] == ["2", "1,000 steps, 3 min"]
    assert (
        "`metarl train promp --world CheetahDir-v0 --steps 1000 --seed N`, commit 012345678, A chip, 2 cores"
        in page
    )
    assert "kept" in page
    assert tables.filled(page, tmp_path) == page


def test_an_unknown_mark_is_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'learning'"):
        tables.filled("<!-- results:learnin -->\n<!-- end -->", tmp_path)


def test_the_pages_agree_with_the_results():
    assert tables.main(["--check"]) == 0


def fewshot_run(**changes):
    return {
        "method": "prototypical",
        "seed": 3,
        "training": "metarl fewshot train prototypical --episodes 200",
        "config": {"experiment": {"data": "omniglot", "way": 20, "shot": 1}},
        "minutes": 2.0,
        "git": [{"commit": "0123456789abcdef", "dirty": False}],
        "hardware": {"processor": "A chip", "cores": 2},
        "rows": [
            {"kind": "5w1s", "accuracies": {"running": [1.0, 0.8, 0.9, 0.9], "transductive": [1.0] * 4}}
        ],
    } | changes


def cells_of(run):
    lines = tables.fewshot([{"runs": [run]}]).splitlines()
    return [cell.strip() for cell in lines[2].split("|")[1:-1]], "\n".join(lines[3:])


def test_accuracies_are_means_with_half_their_interval_beside_what_is_published():
    cells, below = cells_of(fewshot_run())
    assert cells == ["omniglot", "prototypical", "", "20w1s", "running", "90.0 ± 8.0 (98.8)", "3"]
    assert "`metarl fewshot train prototypical --episodes 200`, 2 min, commit 012345678, A chip" in below
    assert "- prototypical: Snell, Swersky & Zemel 2017" in below


def test_what_is_published_stands_beside_the_mode_of_its_kind():
    lines = tables.fewshot([{"runs": [fewshot_run(method="versa")]}]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[4:7]] for line in lines[2:4]]
    assert cells == [
        ["20w1s", "running", "90.0 ± 8.0"],
        ["20w1s", "transductive", "100.0 ± 0.0 (99.7)"],
    ]
    running = fewshot_run(method="versa")
    del running["rows"][0]["accuracies"]["transductive"]
    assert cells_of(running)[0][5] == "90.0 ± 8.0 (99.7)"  # there is no other


def test_the_training_that_a_run_rests_on_stands_before_its_own():
    earlier = {
        **fewshot_run(),
        "training": "metarl fewshot train maml --episodes 9",
        "episodes": 9,
        "minutes": 7.0,
    }
    cells, below = cells_of(fewshot_run(before=[earlier]))
    assert cells[1:3] == ["prototypical", "maml"]
    assert (
        "- `metarl fewshot train maml --episodes 9`, 7 min, commit 012345678, A chip, 2 cores; then `metarl"
        in below
    )


def test_a_training_that_goes_on_with_its_own_method_is_not_pre_trained_by_it():
    assert cells_of(fewshot_run(before=[fewshot_run()]))[0][2] == ""


def test_a_method_without_published_numbers_stands_alone():
    cells, below = cells_of(fewshot_run(method="triplet"))
    assert cells[5] == "90.0 ± 8.0"
    assert "Published" not in below


def test_a_run_that_was_resumed_to_another_length_says_so():
    assert "and `--resume`, 150 episodes in all, 2 min" in cells_of(fewshot_run(episodes=150))[1]
    assert "--resume" not in cells_of(fewshot_run(episodes=200))[1]


def test_meta_steps_stand_beside_those_of_the_peers_that_have_the_method():
    def spread(low, median, high):
        return {"median": median, "quartile_low": low, "quartile_high": high}

    own = {"spread": {"metarl": spread(0.09, 0.1, 0.125)}, "peak_bytes": {"metarl": [2**20, 2**22, 2**21]}}
    alone = {**own, "method": "cavia", "ratio": {}, "memory_ratio": {}}
    beside = {**own, "method": "maml", "ratio": {"higher": spread(1.4, 1.5, 1.75)}}
    beside |= {"memory_ratio": {"higher": 1.625}}
    found = {"command": "python benchmarks/meta_step.py", "commit": "0123456789", "results": [alone, beside]}
    lines = tables.meta_step([found]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:4]]
    assert cells[0] == ["method", "ms", "MiB", "higher: time / ours", "memory / ours"]
    assert cells[2] == ["cavia", "100 [90, 125]", "2", "", ""]
    assert cells[3] == ["maml", "100 [90, 125]", "2", "1.50 [1.40, 1.75]", "1.62"]


def test_lifetimes_are_shown_by_episode_and_games_by_the_rounds_won():
    def run(seed, scores, score=None, schedule=None):
        protocol = {
            "agent": "ppo",
            "world": "w",
            "split": "test",
            "schedule": schedule,
            "config": {"lr": 1.0},
        }
        measures = {} if score is None else {"ppo": {"score": [[score]]}}
        return {
            "agent": "ppo",
            "seed": seed,
            "protocol": protocol,
            "groups": ["all"],
            "scores": {"ppo": [[scores]]},
        } | {"measures": measures}

    def cells(text):
        lines = [line for line in text.splitlines() if line.startswith("| ppo")]
        return [cell.strip() for cell in lines[0].split("|")[2:-1]]

    assert cells(learning_tables.lived([run(1, [1.0, 3.0]), run(2, [3.0, 5.0])])) == [
        "2.000 [-]",
        "4.000 [-]",
    ]
    game = {"schedule": "rising-versions", "rounds": 4, "episodes_per_round": 2}
    won = run(1, [0.0] * 8, [1, 0, 1, 1, -1, 1, -1, -1], game)  # rounds won, won, drawn, lost
    text = learning_tables.lived([won])
    assert "2 episodes per round" in text
    assert [cell.split()[0] for cell in cells(text)] == ["1.000", "1.000", "0.000", "0.000"]
    stages = {"ppo": {"flags": "ppo --lr 1", "after": "first"}}
    found = {"command": "python benchmarks/lifetimes.py games", "commit": "0123456789"}
    page = tables.lifetimes([found | {"comparisons": {"A": {"stages": stages, "runs": [won]}}}])
    assert "- ppo: `ppo --lr 1 --start-from first`" in page
    assert "**A**, seeds 1" in page


def test_markdown_table():
    assert markdown_table(["task", "return"], [["a|b", 1.23456], ["c", 10]]) == (
        "| task | return |\n| ---- | -----: |\n| a\\|b |  1.235 |\n| c    |     10 |"
    )
    with pytest.raises(ValueError, match="1 cells, expected 2"):
        markdown_table(["a", "b"], [["x"]])


def test_a_run_that_is_judged_again_in_other_episodes_keeps_what_it_came_to_before():
    judging = importlib.import_module("fewshot_accuracy")
    old = fewshot_run(rows=[{"kind": "5w1s", "accuracies": {}}, {"kind": "20w1s", "accuracies": {}}])
    new = fewshot_run(rows=[{"kind": "5w1s", "accuracies": {"running": [1.0]}}])
    assert judging.judged_before(new, [old]) == [{"kind": "20w1s", "accuracies": {}}]
    assert judging.judged_before(new, [old | {"minutes": 2.5}]) == []


def test_parts_of_maml_plus_plus_stand_by_themselves_with_each_seed(tmp_path):
    rows = [
        {
            "row": "maml",
            "seed": 0,
            "minutes": 1.0,
            "accuracies": {"transductive": [0.4, 0.6], "running": [0.5, 0.3]},
        },
        {
            "row": "maml",
            "seed": 1,
            "minutes": 3.0,
            "accuracies": {"transductive": [0.6, 0.8], "running": [0.4, 0.4]},
        },
        {"row": "maml++", "seed": 0, "minutes": 2.0, "accuracies": {"transductive": [0.9], "running": [0.8]}},
        {"row": "maml++", "seed": 1, "diverged": "the loss is nan"},
    ]
    found = {
        "command": "python benchmarks/maml_plus_plus.py",
        "commit": "0" * 40,
        "hardware": RUN["hardware"],
    }
    (tmp_path / "maml_plus_plus.json").write_text(json.dumps({**found, "rows": rows}))
    table = tables.table("maml_plus_plus", tmp_path)
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith("| m")
    ]
    assert cells == [
        ["maml", "60.0 (50.0, 70.0)", "40.0 (40.0, 40.0)", "2.0"],
        ["maml++", "90.0, diverged", "80.0, diverged", "2.0"],
    ]
