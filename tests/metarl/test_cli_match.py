"""`metarl match`, `tournament` and `zoo import`, as a user types them."""

import json
import sys

import numpy as np
import pytest

from metarl.cli import main


def run(capsys, *words):
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


def test_a_match_is_summed_up_in_a_line(capsys):
    code, out, _ = run(capsys, "match", "zero-ant", "zero-spider", "--rounds", "3")
    assert code == 0
    assert "zero-ant against zero-spider, 3 matches: won 3, lost 0, drew 0; wins 100.0 % [43.9, 100.0]" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("match", "zero-ant", "zero-spidr"), "did you mean 'zero-spider'"),
        (("match", ".", "zero-bug"), "'.' is no run of self-play"),
        (("match", "zero-ant", "zero-bug", "--rounds", "0"), "--rounds 0, expected 1 or more"),
        (("match", "zero-ant", "zero-bug", "--out", "clip.avi"), "cannot write 'clip.avi'"),
        (("tournament", "zero-ant", "zero-ant"), "two different wrestlers"),
        (("tournament", "zero-ant", "zero-bug", "--seed", "-1"), "--seed -1, expected 0 or more"),
        (("zoo", "imprt"), "did you mean 'import'"),
        (("zoo", "import", "/nowhere"), "is no folder"),
    ],
)
def test_mistakes_are_told_in_a_line(capsys, words, message):
    code, _, err = run(capsys, *words)
    assert code == 2
    assert message in err


def test_a_tournament_goes_on_from_what_was_played(capsys, tmp_path):
    pytest.importorskip("openskill")
    out = tmp_path / "results.json"
    words = ("tournament", "zero-spider", "zero-ant", "zero-bug", "--rounds", "2", "--out", str(out))
    code, table, _ = run(capsys, *words)
    assert code == 0
    assert "beats the next, %" in table
    stored = json.loads(out.read_text())
    assert stored["results"]["zero-spider zero-ant"] == [2, 2]
    out.write_text(json.dumps({"protocol": {"rounds": 7}, "wrestlers": {}, "results": {}}))
    code, anew, _ = run(capsys, *words)  # nothing was played yet, by whatever rules
    assert (code, anew[anew.index("| wins") :]) == (0, table[table.index("| wins") :])
    stored["results"]["zero-ant zero-bug"] = [1, 3]  # won and drawn, as if they had ended so
    out.write_text(json.dumps(stored))
    code, again, _ = run(capsys, *words)
    assert again != table
    assert "| zero-ant    |         100 |          |       50 |" in again
    code, turned, _ = run(capsys, words[0], *words[3:0:-1], *words[4:])
    assert "| zero-ant    |       50 |          |         100 |" in turned
    assert json.loads(out.read_text()) == stored
    code, _, err = run(capsys, *words[:4], "--rounds", "3", "--out", str(out))
    assert code == 2
    assert "name another file by --out" in err
    stored["wrestlers"]["zero-bug"] = "another"
    out.write_text(json.dumps(stored))
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "results of another zero-bug" in err


def test_without_openskill_a_tournament_does_not_begin(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openskill.models", None)
    out = tmp_path / "results.json"
    code, _, err = run(capsys, "tournament", "zero-spider", "zero-ant", "--rounds", "1", "--out", str(out))
    assert code == 2
    assert "pip install openskill" in err
    assert not out.exists()


def test_a_clone_becomes_a_pool_whose_policies_play(capsys, tmp_path):
    folder = tmp_path / "clone" / "ant" / "mlp"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    vector = (0.1 * rng.standard_normal(24_645)).astype(np.float32)
    vector[3 + 120 : 3 + 240], vector[3 + 240] = 2.0, 1.0
    np.save(folder / "agent-params-v2.npy", vector)
    pool = str(tmp_path / "pool")
    code, out, _ = run(capsys, "zoo", "import", str(tmp_path / "clone"), "--out", pool)
    assert code == 0
    assert "ant-mlp@2" in out
    code, out, _ = run(capsys, "match", "ant-mlp@2", "zero-spider", "--pool", pool, "--rounds", "1")
    assert code == 0
    assert "ant-mlp@2 against zero-spider, 1 match" in out


def test_an_evolution_goes_on_and_tells_who_is_left(capsys, tmp_path):
    out, picture = tmp_path / "evolution.json", tmp_path / "evolution.png"
    words = ("evolution", "zero-spider", "zero-ant", "--copies", "3", "--rounds", "1", "--out", str(out))
    assert run(capsys, *words, "--generations", "1")[0] == 0
    first = json.loads(out.read_text())["populations"]
    assert [sum(each) for each in first] == [6, 6]
    code, said, _ = run(capsys, *words, "--generations", "4", "--plot", str(picture))
    assert code == 0
    populations = json.loads(out.read_text())["populations"]
    assert populations[:2] == first
    assert populations[-1] == [0, 6]
    assert said.index("| zero-ant ") < said.index("| zero-spider ")
    assert picture.stat().st_size > 1_000
    turned = (words[0], *words[2:0:-1], *words[3:])
    again = run(capsys, *turned, "--generations", "4")[1]
    assert again[again.index("| after") :].split("\n\n")[0] == said[said.index("| after") :].split("\n\n")[0]
    assert json.loads(out.read_text())["populations"] == [each[::-1] for each in populations]
    assert run(capsys, *words, "--generations", "4")[0] == 0
    assert json.loads(out.read_text())["populations"] == populations
    code, _, err = run(capsys, *words, "--seed", "1")
    assert code == 2
    assert "another evolution" in err
    code, _, err = run(capsys, "evolution", "zero-ant", "zero-bug", "--copies", "0")
    assert code == 2
    assert "--copies 0, expected 1 or more" in err


@pytest.mark.parametrize("verb", ["tournament", "evolution"])
def test_results_that_cannot_be_written_are_noticed_before_any_match(capsys, tmp_path, monkeypatch, verb):
    pytest.importorskip("openskill")
    (tmp_path / "file").touch()
    for name in ("contests.play", "evolution.generation"):
        monkeypatch.setattr(f"metarl.envs.{name}", lambda *args: pytest.fail("played"))
    out = str(tmp_path / "file" / "results.json")
    code, _, err = run(capsys, verb, "zero-spider", "zero-ant", "--rounds", "1", "--out", out)
    assert code == 2
    assert "results.json" in err
