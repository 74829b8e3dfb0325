import json
import subprocess
import sys
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from metarl import cli
from metarl.agents import experiments
from metarl.commands import errors, flags, train, watch

SLOW = ("torch", "mujoco", "matplotlib", "tensorboard", "stable_baselines3")
QUICK = [
    [],
    ["--help"],
    ["--version"],
    ["list"],
    ["list", "agents"],
    ["train", "promp", "--help"],
    ["train", "ppo", "--help"],
    *([verb, "--help"] for verb in cli.VERBS),
]


@pytest.fixture
def trained(monkeypatch):
    """Records what `train` and `resume` were called with instead of training."""
    calls = []
    run = SimpleNamespace(path="runs/x", name="promp", run=SimpleNamespace(info={"reason": "finished"}))

    def record(*args, **kwargs):
        calls.append((args, kwargs))
        return run

    monkeypatch.setattr(experiments, "train", record)
    monkeypatch.setattr(experiments, "resume", record)
    calls_and_run = SimpleNamespace(calls=calls, run=run)
    return calls_and_run


def test_help_and_list_import_nothing_heavy():
    code = f"""
import contextlib, io, sys
from metarl.cli import main
for words in {QUICK!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(words)
    assert code == (2 if not words else 0), (words, code)
    assert out.getvalue().strip(), words
    heavy = [name for name in {SLOW!r} if name in sys.modules]
    assert not heavy, (words, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_python_m_metarl_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "metarl", "list", "worlds"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "metarl/CheetahDir-v0" in done.stdout


def test_the_help_of_an_agent_explains_every_field(capsys):
    assert cli.main(["train", "promp", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--inner.lr FLOAT Step size, or where learned step sizes start." in shown
    for flag in ("--world", "--seed", "--steps", "--out", "--policy.hidden", "--outer.max-kl", "--quiet"):
        assert flag in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "did you mean 'train'?"),
        (["list", "world"], "did you mean 'worlds'?"),
        (["list", "worlds", "agents"], "takes one name"),
        (["train"], "needs an agent"),
        (["train", "prmp", "--world", "CheetahDir-v0"], "did you mean 'promp'?"),
        (["train", "promp", "--world", "CheetaDir-v0"], "did you mean 'CheetahDir-v0'?"),
        (["train", "promp", "--world", "metarl/CheetahDir-v1"], "did you mean 'metarl/CheetahDir-v0'?"),
        (["train", "promp"], "--world"),
        (["train", "promp", "--world", "CheetahDir-v0", "--inner.lrr", "1"], "--inner.lr FLOAT"),
        (["train", "promp", "--world", "CheetahDir-v0", "--inner.lr", "x"], "--inner.lr"),
        (["train", "promp", "--world", "CheetahDir-v0", "--steps", "0"], "steps=0"),
        (["train", "promp", "--world", "CheetahDir-v0", "--inner.estimator", "log_prob"], "score terms"),
        (["train", "promp", "--world", "CheetahDir-v0", "--world-options", "horizon"], "NAME=VALUE"),
        (["train", "promp", "--world", "CheetahDir-v0", "--out", "/dev/null/x"], "Not a directory"),
        (["train", "promp", "--world", "CheetahDir-v0", "--evaluate-every", "-1"], "evaluate_every=-1"),
        (["watch", ".", "--port", "70000"], "from 1 to 65535"),
        (["demo", "--steps", "-1"], "steps=-1"),
        (
            ["train", "promp", "--world", "PointNavigation-v0", "--policy.initial-std", "0.05"],
            "policy.initial_std=0.05 is below policy.minimum_std=0.1",
        ),
        (["train", "--config", "nowhere.json"], "no such file"),
        (["train", "--config"], "needs a path"),
        (["train", "--resume", "nowhere"], "not a run"),
        (["evaluate", "nowhere"], "not a run"),
        (["evaluate"], "RUN"),
        (["evaluate", "a", "b"], "got 2 runs"),
        (["evaluate", "a", "--methods", "none"], "--methods goes with --lifetimes"),
        (["evaluate", "nowhere", "--lifetimes", "3"], "not a run"),
        (["evaluate", "nowhere", "--lifetimes", "3", "--lifetime", "drift"], "not JSON"),
        (["plot"], "needs a run"),
        (["plot", "nowhere"], "not a run"),
        (["plot", "a", "--kind", "adaptation", "--tags", "foo"], "--tags goes with --kind learning"),
        (["render"], "a run or --world"),
        (["render", "nowhere"], "not a run"),
        (["render", "--world", "CheetahDir-v0", "--out", "clip.mp3"], "did you mean '.mp4'?"),
        (["render", "--world", "CheetahDir-v0", "--task", "left"], "not JSON"),
        (["render", "--world", "CheetahDir-v0", "--seconds", "0"], "more than 0"),
        (["render", "nowhere", "--lifetime"], "not a run"),
        (["render", "--lifetime", "nowhere"], "nowhere is not a run"),
        (["render", "nowhere", "--method", "none"], "--method goes with --lifetime"),
        (["render", "--world", "CheetahDir-v0", "--lifetime"], "name a run"),
        (["render", "nowhere", "--lifetime", "--inner-steps", "9"], "--inner-steps goes without --lifetime"),
        (["render", "--world", "CheetahDir-v0", "--inner-steps", "9"], "--inner-steps goes without"),
        (["watch", "nowhere"], "no folder"),
        (["demo", "--sec", "3"], "--seconds"),
    ],
)
def test_a_users_mistake_ends_with_2_and_one_message(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert not shown.out


def test_train_hands_over_experiment_and_config(trained, capsys):
    words = (
        "train promp --world CheetahDir-v0 --seed 3 --steps 77 --out here --inner.lr 0.2 --policy.hidden 8 9"
    )
    assert cli.main([*words.split(), "--world-options", "control_cost=0.5", "integrator=rk4", "--quiet"]) == 0
    (((agent, experiment, config), options),) = trained.calls
    assert (agent, experiment.world, experiment.seed, experiment.steps) == (
        "promp",
        "metarl/CheetahDir-v0",
        3,
        77,
    )
    assert (experiment.out, experiment.world_options) == ("here", {"control_cost": 0.5, "integrator": "rk4"})
    assert (config.inner.lr, config.policy.hidden, config.inner.estimator) == (0.2, (8, 9), "lvc")
    assert options == {"quiet": True}
    assert "metarl evaluate runs/x" in capsys.readouterr().out


def test_train_again_from_a_runs_config_with_other_flags(trained, tmp_path):
    assert (
        cli.main(["train", "maml", "--world", "metarl/AntDir-v0", "--seed", "5", "--inner.steps", "2"]) == 0
    )
    ((agent, experiment, config), _) = trained.calls[0]
    from metarl.configs import to_dict, write_json

    path = tmp_path / "config.json"
    write_json(path, {"agent": agent, "experiment": to_dict(experiment), "config": to_dict(config)})
    assert cli.main(["train", "--config", str(path)]) == 0
    assert trained.calls[1][0] == (agent, experiment, config)
    assert cli.main(["train", f"--config={tmp_path}", "--seed", "6", "--inner.lr", "0.3"]) == 0
    (_, again, changed), _ = trained.calls[2]
    assert (again.seed, again.world, changed.inner.lr, changed.inner.steps) == (6, "metarl/AntDir-v0", 0.3, 2)


@pytest.mark.parametrize(
    ("stored", "words", "message"),
    [
        ({"agent": "promp"}, [], "not the config of a run"),
        ({"agent": "mmal", "experiment": {}, "config": {}}, [], "did you mean 'maml'?"),
        ({"agent": "maml", "experiment": {"world": "x"}, "config": {}}, ["promp"], "leave out 'promp'"),
        ({"agent": "maml", "experiment": {"wrld": "x"}, "config": {}}, [], "did you mean 'world'?"),
    ],
)
def test_a_config_that_is_none_is_refused(stored, words, message, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(stored))
    assert cli.main(["train", *words, "--config", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_resume(trained):
    assert cli.main(["train", "--resume", "runs/x", "--steps", "9"]) == 0
    assert trained.calls == [(("runs/x",), {"steps": 9, "quiet": False})]


def test_an_interrupted_training_ends_with_130(trained):
    trained.run.run.info["reason"] = "stopped"
    assert cli.main(["train", "promp", "--world", "CheetahDir-v0"]) == 130


def test_a_diverged_training_ends_with_1_and_its_message(monkeypatch, capsys, tmp_path):
    from metarl.training import TrainingDiverged

    def diverge(*args, **kwargs):
        raise TrainingDiverged(7, "loss", tmp_path)

    monkeypatch.setattr(experiments, "train", diverge)
    assert cli.main(["train", "promp", "--world", "CheetahDir-v0"]) == 1
    assert "iteration 7" in capsys.readouterr().err


def test_ctrl_c_ends_with_130(monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupt)
    assert cli.main(["list"]) == 130


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(experiments, "train", lambda *args, **kwargs: np.zeros(2) + np.zeros(3))
    with pytest.raises(ValueError, match="broadcast"):
        cli.main(["train", "promp", "--world", "CheetahDir-v0"])


def caught(action):
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_users_mistake_is_what_our_code_raised_on_purpose():
    from metarl.names import unknown  # returns an error, raised elsewhere

    assert errors.is_users_mistake(caught(lambda: flags.json_mapping("[1]", "--task")))
    assert errors.is_users_mistake(caught(lambda: gymnasium.make("NoSuchWorld-v0")))
    assert not errors.is_users_mistake(caught(lambda: train._take(None, "--config")))
    assert not errors.is_users_mistake(caught(lambda: int("x")))
    assert not errors.is_users_mistake(unknown("agent", "x", ["y"]))


@pytest.mark.parametrize("name", ["CheetahDir-v0", "metarl/CheetahDir-v0"])
def test_worlds_with_and_without_the_prefix(name):
    assert flags.world_id(name) == "metarl/CheetahDir-v0"
    assert flags.world_id("CartPole-v1") == "CartPole-v1"
    assert flags.world_id("json:own/Cart-v0") == "json:own/Cart-v0"


def test_watch_starts_tensorboard_on_a_free_port(monkeypatch, tmp_path, capsys):
    import socket

    started = []
    monkeypatch.setattr(watch.subprocess, "call", lambda command: started.append(command) or 0)
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["watch", str(tmp_path), "--port", str(port)]) == 0
    ((*_, _logdir, folder, _host, host, _port, used, _reload, _seconds),) = started
    assert (folder, host) == (str(tmp_path), "localhost")
    assert int(used) > port
    assert f"http://localhost:{used}" in capsys.readouterr().out


def test_watch_opens_the_page_once_the_server_answers(monkeypatch):
    import socket

    opened = []
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)
    with socket.socket() as server:
        server.bind(("localhost", 0))
        port = server.getsockname()[1]
        assert not watch.open_when_ready("page", "localhost", port, tries=3, opener=opened.append)
        assert not opened
        server.listen()
        watch.open_when_ready("page", "localhost", port, tries=3, opener=opened.append)
    assert opened == ["page"]


def test_watch_opens_nothing_where_nobody_sees_it(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(watch.sys, "stdout", SimpleNamespace(isatty=lambda: False))
    assert not watch.has_display()
    monkeypatch.setattr(watch.sys, "stdout", SimpleNamespace(isatty=lambda: True))
    assert watch.has_display()
    monkeypatch.setattr(watch.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not watch.has_display()


def test_film_of_a_world_has_a_caption_and_the_length_asked_for(monkeypatch):
    from metarl.commands.render import film_world

    given = []

    class Still(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (1,))
        action_space = gymnasium.spaces.Box(-1, 1, (1,))
        steps = 0

        def __init__(self, render_mode=None):
            self.render_mode = render_mode

        def sample_tasks(self, num, split, rng):
            return [{"goal": float(rng.uniform())}] * num

        def reset(self, *, seed=None, options=None):
            given.append(options["task"])
            self.steps = 0
            return np.zeros(1, np.float32), {}

        def step(self, action):
            self.steps += 1
            return np.zeros(1, np.float32), 0.0, False, self.steps == 8, {}

        def render(self):
            return np.full((64, 64, 3), 100, np.uint8)

    Still.metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    gymnasium.register("test/Still-v0", entry_point=Still, disable_env_checker=True)
    try:
        frames, fps = film_world("test/Still-v0", None, 2.0, 0, "rgb_array")
        assert (len(frames), fps) == (20, 10)
        assert len(given) == 3
        assert given[0] != given[1]
        assert frames[0].max() == 255
        assert len(film_world("test/Still-v0", {"goal": 1.0}, None, 0, "rgb_array")[0]) == 8
        assert given[3:] == [{"goal": 1.0}]
        del Still.sample_tasks
        with pytest.raises(ValueError, match="test/Still-v0 has no tasks"):
            film_world("test/Still-v0", {"goal": 1.0}, None, 0, "rgb_array")
    finally:
        del gymnasium.registry["test/Still-v0"]


def test_evaluate_and_plot_a_run(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = str(tmp_path / "runs")
    small = "--sampling.tasks 2 --sampling.trajectories 2 --sampling.horizon 5 --evaluate-every 0 --quiet"
    assert cli.main(f"train promp --world PointNavigation-v0 --steps 40 {small} --out {out}".split()) == 0
    (run,) = tmp_path.glob("runs/*/*/*")
    assert cli.main(f"evaluate {run} --repeats 2 --tasks 2 --inner-steps 1".split()) == 0
    shown = capsys.readouterr().out
    assert "after 1" in shown
    assert "2/2 repeats (100%)" in shown
    assert cli.main(f"evaluate {run} --repeats 2 --tasks 2 --inner-steps 1 --quiet".split()) == 0
    assert "repeats (" not in capsys.readouterr().out
    for kind in ("learning", "adaptation"):
        picture = tmp_path / f"{kind}.png"
        assert cli.main(f"plot {out} --kind {kind} --out {picture}".split()) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("agent", "judged", "filmed"),
    [
        ("promp", "metarl evaluate runs/x", "metarl render runs/x"),
        ("ppo", "metarl evaluate runs/x", "metarl render runs/x --lifetime '{"),
        (
            "self-play",
            "metarl match runs/x zero-ant",
            "metarl match runs/x zero-ant --rounds 3 --out clip.mp4",
        ),
    ],
)
def test_what_can_be_done_with_a_run_depends_on_the_agent(trained, capsys, agent, judged, filmed):
    trained.run.name = agent
    assert cli.main(["train", agent, "--world", "CheetahDir-v0"]) == 0
    judge, film, _ = capsys.readouterr().out.splitlines()
    assert judge == f"judge it:  {judged}"
    assert film.startswith(f"film it:   {filmed}")


def test_render_hands_the_choice_of_a_lifetime_over(tmp_path, monkeypatch, capsys):
    asked = []

    class Trained:
        run = SimpleNamespace(videos=tmp_path)

        def render_lifetime(self, out, **options):
            asked.append((out, options))
            return out

    monkeypatch.setattr(experiments, "open_run", lambda path: Trained())
    assert cli.main(["render", "run", "--lifetime"]) == 0
    assert asked.pop() == (
        tmp_path / "lifetime_s0.mp4",
        {"method": None, "task": None, "lifetime": None, "seconds": None, "seed": 0},
    )
    assert capsys.readouterr().out.strip() == str(tmp_path / "lifetime_s0.mp4")
    words = [
        "--lifetime",
        '{"schedule": "redraw"}',
        "--method",
        "none",
        "--task",
        '{"legs": [3, 4]}',
        "--seconds",
        "2",
    ]
    assert cli.main(["render", "run", *words, "--out", "a.gif", "--seed", "7"]) == 0
    task, schedule = {"legs": [3, 4]}, {"schedule": "redraw"}
    options = {"method": "none", "task": task, "lifetime": schedule, "seconds": 2.0, "seed": 7}
    assert asked == [("a.gif", options)]


def test_evaluate_compares_the_lifetimes_of_several_runs(tmp_path, monkeypatch, capsys):
    from metarl.agents.lifetime_evaluation import LifetimeEvaluation
    from metarl.runs import Run

    asked = []

    class Trained:
        def __init__(self, run):
            self.run, self.path = run, run.path
            self.experiment = SimpleNamespace(world=run.info["world"])

        def evaluate_lifetimes(self, *args, **kwargs):
            asked.append((args, kwargs))
            scores = {self.run.info["agent"]: np.full((1, 2, 3), float(self.run.info["seed"]))}
            return LifetimeEvaluation(scores, ["legs 1 2"], {"agent": self.run.info["agent"]})

    monkeypatch.setattr(experiments, "AgentRun", Trained)
    monkeypatch.setattr(Run, "newest_checkpoint", lambda run: run.checkpoints)
    runs = [
        Run.create(tmp_path, "metarl/Toy-v0", agent, seed, {})
        for agent, seed in (("a", 1), ("a", 3), ("b", 5))
    ]
    words = [str(tmp_path / "Toy-v0" / "a"), str(runs[2].path), "--lifetimes", "2", "--methods", "none"]
    assert (
        cli.main(["evaluate", *words, "--lifetime", '{"schedule": "drift"}', "--seed", "4", "--quiet"]) == 0
    )
    assert asked == [((2, "test", ("none",), 4), {"lifetime": {"schedule": "drift"}, "quiet": True})] * 3
    shown = capsys.readouterr().out
    assert "| a      | 2.00 [2.00, 2.00] |" in shown.replace("2.000", "2.00")
    for run in runs:
        assert f"scores: {run.path / 'lifetimes.json'}" in shown
    assert f"plot:   {tmp_path / 'Toy-v0' / 'lifetimes.png'}" in shown
    assert (tmp_path / "Toy-v0" / "lifetimes.png").exists()
    assert cli.main(["evaluate", str(runs[2].path), "--lifetimes", "2"]) == 0
    assert (runs[2].path / "lifetimes.png").exists()
    capsys.readouterr()
    words = [
        "plot",
        str(runs[0].path),
        str(runs[2].path),
        "--kind",
        "lifetimes",
        "--out",
        str(tmp_path / "l.svg"),
    ]
    assert cli.main(words) == 2
    assert f"first: metarl evaluate {runs[0].path} --lifetimes 50" in capsys.readouterr().err
    for run, value in ((runs[0], 1.0), (runs[2], 2.0)):
        agent = run.info["agent"]
        found = LifetimeEvaluation({agent: np.full((1, 2, 3), value)}, ["x"], {"agent": agent})
        (run.path / "lifetimes.json").write_text(json.dumps(found.to_json()))
    assert cli.main(words) == 0
    assert (tmp_path / "l.svg").read_text().count("<svg") == 1
