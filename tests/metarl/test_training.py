"""The loop: when it evaluates, logs, saves and stops; that randomness follows from the counter alone."""

import numpy as np
import pytest
import torch

from metarl import checkpoints, devices
from metarl.meta_optimizers import GradientSteps, NonFinite
from metarl.progress import Eta, Progress, duration
from metarl.runs import Run
from metarl.training import Schedule, TrainingDiverged, check_finite, generator, train
from tests.metarl.toy import Quadratic, make_optimizer


def fresh(root, **schedule):
    algorithm = Quadratic()
    run = Run.create(root, "metarl/Toy-v0", "toy", 3, {})
    return (
        algorithm,
        make_optimizer("adam", algorithm.module),
        Schedule(**{"steps": 400, "seed": 3} | schedule),
        run,
    )


def test_training_learns_and_ends_in_order(tmp_path, capsys):
    run = train(*fresh(tmp_path, steps=40 * 60, evaluate_every=25, checkpoint_every=20))
    metrics = run.metrics()
    assert run.info["reason"] == "finished"
    assert metrics["train/loss"][-1] < 0.8 * metrics["train/loss"][0]
    assert metrics["step"] == [40 * i for i in range(1, 61)]
    evaluated = [int(s) for s, v in zip(metrics["step"], metrics["eval/distance"], strict=True) if v == v]
    assert evaluated == [40 * 25, 40 * 50, 40 * 60]
    saved = [int(path.name[5:]) for path in checkpoints.complete(run.checkpoints)]
    assert saved == [0, 800, 1600, 2400]
    fps, seconds, collecting, learning, elapsed = (
        np.array(metrics[f"time/{tag}"])
        for tag in ("fps", "iteration", "collect_share", "learn_share", "time_elapsed")
    )
    assert min(seconds.min(), collecting.min(), learning.min()) > 0
    np.testing.assert_allclose(fps * seconds * (collecting + learning), 40, rtol=1e-4)
    np.testing.assert_allclose(elapsed, seconds.cumsum(), rtol=1e-4)
    assert "finished 2,400 steps" in capsys.readouterr().out


def test_checkpoint_holds_parameters_buffers_optimizer_and_state(tmp_path):
    algorithm, optimizer, schedule, run = fresh(tmp_path, keep=1)
    train(algorithm, optimizer, schedule, run, quiet=True)
    (path,) = checkpoints.complete(run.checkpoints)
    tensors, state = checkpoints.load(path)
    assert torch.equal(tensors["module.mean"], algorithm.module.mean)
    assert tensors["module.count"] == 40
    assert torch.equal(tensors["module.frozen"], torch.ones(2))
    assert "optimizer.start/exp_avg" in tensors
    assert (state["iteration"], state["steps"], state["seed"], state["rows"]) == (10, 400, 3, 10)
    assert "torch" in state["versions"]


def test_quiet_says_nothing(tmp_path, capfd):
    train(*fresh(tmp_path), quiet=True)
    assert capfd.readouterr() == ("", "")


def test_a_longer_schedule_goes_on_from_a_finished_run(tmp_path):
    algorithm, optimizer, _, run = fresh(tmp_path / "a")
    train(algorithm, optimizer, Schedule(400, 3), run, quiet=True)
    longer = Quadratic()
    train(longer, make_optimizer("adam", longer.module), Schedule(800, 3), Run.open(run.path), quiet=True)
    whole, optimizer, _, other = fresh(tmp_path / "b")
    train(whole, optimizer, Schedule(800, 3), other, quiet=True)
    assert torch.equal(longer.module.start, whole.module.start)
    assert torch.equal(longer.module.rate, whole.module.rate)


def test_another_seed_or_module_cannot_go_on(tmp_path):
    algorithm, optimizer, schedule, run = fresh(tmp_path)
    train(algorithm, optimizer, schedule, run, quiet=True)
    before = (run.path / "run.json").read_text()
    with pytest.raises(ValueError, match=r"seed 3.*seed 4"):
        train(algorithm, optimizer, Schedule(800, 4), Run.open(run.path), quiet=True)
    algorithm.module.more = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match="'more' is missing"):
        train(algorithm, optimizer, schedule, Run.open(run.path), quiet=True)
    assert (run.path / "run.json").read_text() == before  # it had finished, and nothing was trained


def test_numbers_that_are_not_finite_are_named_and_large_or_no_numbers_are_not():
    module = torch.nn.Module()
    module.large = torch.nn.Parameter(torch.full((2,), 1e30))
    module.register_buffer("empty", torch.zeros(0))
    module.register_buffer("count", torch.tensor(3))
    check_finite(module)
    for bad in (float("nan"), float("inf"), -float("inf")):
        module.register_buffer("mean", torch.tensor([0.0, bad, 1.0]))
        with pytest.raises(NonFinite, match="parameter or buffer mean is not finite"):
            check_finite(module)


class Diverging(Quadratic):
    """Something becomes infinite in iteration 6."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def collect(self, rng):
        batch = super().collect(rng)
        self.now = self.module.count >= 24
        if self.now and self.where == "action":
            raise NonFinite("action")
        if self.now and self.where == "buffer":
            self.module.mean.fill_(float("inf"))
        return batch

    def loss(self, data):
        loss, metrics = super().loss(data)
        if self.now and self.where == "loss":
            loss = loss / 0
        if self.now and self.where == "gradient":
            loss = loss + (self.module.rate.detach() - self.module.rate).abs().sqrt()
        if self.now and self.where == "parameter":
            loss = loss * 1e10
        return loss, metrics

    def evaluate(self, rng):
        if self.now and self.where == "evaluation":
            raise NonFinite("action of the evaluation")
        return super().evaluate(rng)


@pytest.mark.parametrize(
    ("where", "quantity"),
    [
        ("action", "action"),
        ("evaluation", "action of the evaluation"),
        ("loss", "loss"),
        ("gradient", "gradient of rate"),
        ("buffer", "parameter or buffer mean"),
        ("parameter", "parameter or buffer start"),
    ],
)
def test_divergence_names_iteration_quantity_and_last_good_checkpoint(where, quantity, tmp_path):
    algorithm = Diverging(where)
    run = Run.create(tmp_path, "metarl/Toy-v0", "toy", 0, {})
    named = dict(algorithm.module.named_parameters())
    optimizer = GradientSteps(named, 1e-6, kind="sgd")
    if where == "parameter":  # a finite gradient of 1e10, a step of 1e30: more than a float32 can hold

        def raise_step_size(iteration):
            if iteration == 6:
                optimizer._optimizer.param_groups[0]["lr"] = 1e30

        algorithm.trouble = raise_step_size
    with pytest.raises(TrainingDiverged, match="iteration 6") as raised:
        train(algorithm, optimizer, Schedule(4000, 0, evaluate_every=3, checkpoint_every=2), run, quiet=True)
    assert quantity in raised.value.quantity
    assert raised.value.iteration == 6
    assert raised.value.checkpoint == run.checkpoints / "step_000000160"
    assert checkpoints.latest(run.checkpoints) == raised.value.checkpoint
    info = Run.open(run.path).info
    assert info["reason"] == "diverged"
    assert "iteration 6" in info["message"]
    assert len(run.metrics()["step"]) == 5


def test_a_failure_is_written_down(tmp_path):
    def fail(iteration):
        if iteration == 2:
            raise KeyError("broken world")

    algorithm = Quadratic(fail)
    run = Run.create(tmp_path, "metarl/Toy-v0", "toy", 0, {})
    with pytest.raises(KeyError):
        train(algorithm, make_optimizer("adam", algorithm.module), Schedule(400), run, quiet=True)
    assert Run.open(run.path).info["message"] == "KeyError: 'broken world'"


def test_randomness_follows_from_seed_iteration_and_purpose():
    def draw(*which):
        rng = generator(*which)
        return float(rng.random()), float(torch.rand(()))

    first = draw(1, 2, "collect")
    torch.rand(100)
    assert draw(1, 2, "collect") == first
    others = [draw(2, 2, "collect"), draw(1, 3, "collect"), draw(1, 2, "learn"), draw(1, 2, "evaluate")]
    assert len({first, *others}) == 5
    expected = np.random.default_rng(np.random.SeedSequence([1, 2, 0])).random()
    assert first[0] == expected


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"seed": -1}, {"keep": 0}, {"evaluate_every": -1}])
def test_a_schedule_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Schedule(**{"steps": 1} | wrong)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.resolve("auto") == devices.resolve("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="sees no GPU here; use device='auto'"):
        devices.resolve("cuda")
    with pytest.raises(ValueError, match="device='gpu', expected one of"):
        devices.resolve("gpu")


def test_time_to_go_is_judged_by_the_latest_iterations():
    eta = Eta(total=1000, window=2)
    assert eta.seconds is None
    for step, now in [
        (0, 0.0),
        (10, 100.0),
        (20, 101.0),
        (30, 102.0),
    ]:  # slow at first, then 10 steps a second
        eta.update(step, now)
    assert eta.rate == 10.0
    assert eta.seconds == 97.0
    assert [duration(each) for each in (None, 5, 89.6, 150, 7500)] == [
        "?",
        "5 s",
        "90 s",
        "2 min",
        "2 h 05 min",
    ]


def test_panel_shows_numbers_and_what_is_left():
    from rich.console import Console

    progress = Progress("promp on metarl/Toy-v0", 1000)
    progress.start(0)
    progress.update(250, {"adapt/return_0": 1.25, "train/loss": float("nan"), "time/fps": 123456.0})
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(progress._panel())
    text = console.export_text()
    for expected in (
        "promp on metarl/Toy-v0",
        "25%",
        "250/1,000 steps",
        "return_0 1.25",
        "loss nan",
        "fps 123,456",
    ):
        assert expected in text
    assert "adapt/return_0 1.25" in progress.line()
