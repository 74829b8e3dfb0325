"""`metarl fewshot`: what is handed over, what is refused, and that help is quick."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import metarl
from metarl import cli
from metarl.commands import fewshot
from metarl.configs import write_json
from metarl.runs import Run
from metarl.supervised import METHODS
from metarl.supervised.experiment import FewShotExperiment

SLOW = ("torch", "mujoco", "matplotlib", "tensorboard", "stable_baselines3")
QUICK = [
    ["list", "methods"],
    ["list", "data"],
    ["fewshot"],
    ["fewshot", "--help"],
    ["fewshot", "list"],
    ["fewshot", "train", "prototypical", "--help"],
    *(["fewshot", verb, "--help"] for verb in fewshot.VERBS),
]


def test_help_and_list_import_nothing_heavy():
    code = f"""
import contextlib, io, sys
from metarl.cli import main
for words in {QUICK!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(words)
    assert code == (2 if words == ["fewshot"] else 0), (words, code)
    assert out.getvalue().strip(), words
    heavy = [name for name in {SLOW!r} if name in sys.modules]
    assert not heavy, (words, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def calls(monkeypatch):
    """Records what the trainers were called with instead of training."""
    from metarl.supervised import runs

    found = []
    run = SimpleNamespace(
        path="runs/x y", labels_pictures=True, run=SimpleNamespace(info={"reason": "finished"})
    )

    def record(*args, **kwargs):
        found.append((args, kwargs))
        return run

    monkeypatch.setattr(runs, "train", record)
    monkeypatch.setattr(runs, "resume", record)
    return SimpleNamespace(found=found, run=run)


def test_every_method_is_listed(capsys):
    assert cli.main(["fewshot", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in METHODS)
    assert "  omniglot " in shown


def test_train_hands_over_experiment_and_config(calls, capsys):
    words = "fewshot train prototypical --data omniglot --way 20 --shot 5 --seed 3 --episodes 77 --out here"
    assert (
        cli.main([*words.split(), "--training.lr", "0.2", "--training.milestones", "0.5", "0.8", "--quiet"])
        == 0
    )
    (((method, experiment, config), options),) = calls.found
    assert method == "prototypical"
    assert experiment == FewShotExperiment("omniglot", way=20, shot=5, seed=3, episodes=77, out="here")
    assert (config.training.lr, config.training.milestones) == (0.2, (0.5, 0.8))
    assert options == {"quiet": True}
    assert "metarl fewshot evaluate 'runs/x y'" in capsys.readouterr().out


def test_defaults_are_those_for_the_data_ways_and_shots(calls, monkeypatch):
    from metarl.commands import fewshot_train

    asked, preset = [], fewshot_train.preset
    monkeypatch.setattr(fewshot_train, "preset", lambda *args: asked.append(args) or preset(*args))
    cli.main(["fewshot", "train", "prototypical", "--shot=5", "--data=mini-imagenet", "--way", "20"])
    cli.main(["fewshot", "train", "prototypical", "--data", "strokes"])
    assert asked == [("prototypical", "mini-imagenet", 20, 5), ("prototypical", "strokes", 5, 1)]


def kept(tmp_path, **changes):
    run = Run.create(tmp_path, "omniglot", "prototypical", 0, {})
    from metarl.configs import to_dict, write_json
    from metarl.supervised import preset

    config = to_dict(preset("prototypical", "omniglot", 5, 1))
    config["training"]["lr"] = 0.5
    experiment = to_dict(FewShotExperiment("omniglot", seed=9))
    write_json(
        run.path / "config.json",
        {"method": "prototypical", "experiment": experiment, "config": config} | changes,
    )
    return run.path


def test_train_again_from_a_runs_config_with_other_flags(calls, tmp_path):
    assert cli.main(["fewshot", "train", "--config", str(kept(tmp_path)), "--seed", "2"]) == 0
    (((method, experiment, config), _),) = calls.found
    assert (method, experiment.data, experiment.seed, config.training.lr) == (
        "prototypical",
        "omniglot",
        2,
        0.5,
    )


def test_resume_is_handed_over(calls):
    assert cli.main(["fewshot", "train", "--resume", "runs/x", "--episodes", "5"]) == 0
    assert calls.found == [(("runs/x",), {"episodes": 5, "quiet": False})]


def test_an_interrupted_training_ends_with_130_and_the_command_to_go_on_is_said_once(calls, capsys):
    calls.run.run.info["reason"] = "stopped"
    calls.run.run.resume_command = "metarl fewshot train --resume 'runs/x y'"
    words = ["fewshot", "train", "prototypical", "--data", "strokes"]
    assert cli.main(words) == 130
    assert capsys.readouterr().out == ""  # the training itself has said it
    assert cli.main([*words, "--quiet"]) == 130
    assert "metarl fewshot train --resume 'runs/x y'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "did you mean 'train'?"),
        (["list", "methods"], "takes nothing"),
        (["train"], "needs a method"),
        (["train", "protypical", "--data", "strokes"], "did you mean 'prototypical'?"),
        (["train", "protonet", "--data", "strokes"], "did you mean 'prototypical'?"),
        (["train", "prototypical"], "--data"),
        (["train", "prototypical", "--data", "strokes", "--way", "1"], "way=1"),
        (["train", "prototypical", "--data", "strokes", "--way", "x"], "--way"),
        (["train", "prototypical", "--data", "stroks"], "did you mean 'strokes'?"),
        (["train", "maml", "--data", "omniglot", "--data-root", "dta"], "(--data-root): create it first"),
        (["train", "--config"], "needs a path"),
        (["train", "--resume"], "needs a path"),
        (["train", "--config", "nowhere.json"], "no such file"),
        (["train", "--resume", "nowhere"], "not a run"),
        (["evaluate"], "needs a RUN"),
        (["evaluate", "nowhere"], "not a run"),
        (["evaluate", "nowhere", "--split", "tset"], "--split"),
        (["predict", "nowhere"], "RUN first, then --support DIR --query IMAGE"),
        (["predict", "nowhere", "--support", "a", "--query", "b"], "not a run"),
        (["benchmark"], "--data"),
        (["benchmark", "--data", "strokes", "--methods", "protypical"], "did you mean 'prototypical'?"),
        (["benchmark", "--data", "strokes", "--settings", "7w1s"], "--settings"),
        (["demo", "--sed", "1"], "--seed"),
    ],
)
def test_a_users_mistake_ends_with_2_and_one_message(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fewshot", *words]) == 2
    shown = capsys.readouterr()
    assert message in " ".join(shown.err.replace("│", " ").split())
    assert "Traceback" not in shown.err


def test_configs_of_others_are_refused(tmp_path, capsys):
    other = kept(tmp_path, method="nearest-centroid")
    assert cli.main(["fewshot", "train", "prototypical", "--config", str(other)]) == 2
    assert "is a config of 'nearest-centroid'" in capsys.readouterr().err
    agents = Run.create(tmp_path, "metarl/CheetahDir-v0", "promp", 0, {"agent": "promp", "experiment": {}})
    assert cli.main(["fewshot", "train", "--config", str(agents.path)]) == 2
    assert "use `metarl train --config" in capsys.readouterr().err
    assert cli.main(["fewshot", "evaluate", str(agents.path)]) == 2
    assert "is a run of an agent" in capsys.readouterr().err


def test_evaluate_and_predict_hand_over_their_flags(monkeypatch, capsys):
    from metarl.supervised import runs

    seen = []

    class Trained:
        path, is_regression = Path("runs/x"), False

        def evaluate(self, *args, quiet):
            seen.append((*args, quiet))
            return SimpleNamespace(table=lambda: "a table", file=Path("runs/x/evaluation.json"))

        def predict(self, *args, **kwargs):
            seen.append((args, kwargs))
            return SimpleNamespace(table=lambda: "labels", sheet=lambda out: out)

    monkeypatch.setattr(runs, "open_run", lambda path: Trained())
    words = (
        "--way 20 --shot 5 --query 3 --episodes 700 --split validation --statistics joint support --seed 4 "
        "--ensemble 5 --quiet"
    )
    assert cli.main(["fewshot", "evaluate", "r", *words.split()]) == 0
    assert seen.pop() == (20, 5, 3, 700, "validation", ("joint", "support"), 4, (), 5, True)
    assert cli.main(["fewshot", "predict", "r", "--support", "s", "--query", "a.png", "b.png"]) == 0
    assert seen.pop() == (("s", ("a.png", "b.png")), {"statistics": None})
    shown = capsys.readouterr().out
    assert "a table\n\naccuracies: runs/x/evaluation.json" in shown
    assert "runs/x/prediction.png" in shown


def test_metarl_train_goes_where_data_is_given(calls):
    metarl.train("prototypical", data="strokes", way=7, episodes=9, training={"lr": 0.5}, quiet=True)
    (((method, experiment, config), options),) = calls.found
    assert (method, experiment) == ("prototypical", FewShotExperiment("strokes", way=7, episodes=9))
    assert (config.training.lr, options) == (0.5, {"quiet": True})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "got neither"),
        ({"data": "strokes", "world": "CheetahDir-v0"}, "got both"),
        ({"data": "strokes", "episods": 1}, "did you mean 'episodes'"),
        ({"data": "strokes", "training": {"lrr": 1}}, "did you mean 'lr'"),
    ],
)
def test_what_cannot_be_trained_is_refused(calls, settings, message):
    with pytest.raises(ValueError, match=message):
        metarl.train("prototypical", **settings)
    assert not calls.found


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="did you mean 'prototypical'"):
        metarl.train("protypical", data="strokes")


def test_runs_of_both_kinds_are_opened_and_gone_on_with(tmp_path, monkeypatch):
    from metarl.agents import experiments
    from metarl.supervised import runs

    few_shot = kept(tmp_path)
    agents = Run.create(tmp_path, "metarl/CheetahDir-v0", "promp", 0, {"agent": "promp"}).path
    for module, name in ((runs, "method"), (experiments, "agent")):
        monkeypatch.setattr(module, "open_run", lambda path, name=name: name)
        monkeypatch.setattr(module, "resume", lambda path, quiet, name=name, **more: (name, quiet, more))
    assert (metarl.open_run(few_shot), metarl.open_run(agents)) == ("method", "agent")
    assert metarl.resume(few_shot, episodes=5) == ("method", False, {"episodes": 5})
    assert metarl.resume(agents, quiet=True, steps=5) == ("agent", True, {"steps": 5})


def test_no_method_has_a_setting_that_the_experiment_has():
    from metarl.settings import split
    from metarl.supervised import preset

    experiment = FewShotExperiment("strokes")
    for method in METHODS:
        config = preset(method, "omniglot", 5, 1)
        first, second = split(dict.fromkeys(vars(config)), experiment, config)
        assert (len(first), len(second)) == (0, len(vars(config)))


def test_a_few_shot_run_has_no_adaptation_curve(tmp_path, capsys):
    run = Run.create(tmp_path, "strokes", "prototypical", 0, {})
    write_json(run.path / "evaluation.json", {"summary": [{"way": 5, "accuracy": 0.5}]})
    assert cli.main(["plot", str(run.path), "--kind", "adaptation", "--out", str(tmp_path / "a.png")]) == 2
    assert "is a few-shot run, which has no adaptation curve" in capsys.readouterr().err
