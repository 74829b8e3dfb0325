"""Training of a few-shot method: exact resumption, choice of the best state, schedules, stages."""

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from metarl import checkpoints
from metarl.meta_optimizers import GradientSteps
from metarl.nn import conv2d
from metarl.supervised import building, fewshot_run, preset, runs, training
from metarl.supervised.evaluation import Judged
from metarl.supervised.methods import build
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.methods.method import Method, Stage
from metarl.supervised.presets.pretraining import Pretraining
from metarl.supervised.task_kinds import training_sampler
from metarl.supervised.training import FewShotTraining, number_of_updates, optimizer_of
from metarl.update_rules import register
from tests.supervised import front

UPDATES = 12


def make_quick(patch):
    patch.setattr(building, "load", front.load_once)
    patch.setattr(training, "RUNNING_EPISODES", 2)
    patch.setattr(runs, "illustrate", lambda *args: None)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    make_quick(monkeypatch)


def trained(tmp_path, config=None, **changes):
    return runs.train(
        "prototypical", front.experiment(tmp_path, **changes), config or front.config(), quiet=True
    )


def made(tmp_path, config=None, method=None, **changes):
    """The algorithm alone, and the stores it draws from."""
    config, experiment = config or front.config(), front.experiment(tmp_path, **changes)
    stores = [front.load_once("strokes", split) for split in ("train", "validation")]
    torch.manual_seed(0)
    model = method or build("prototypical", config, stores[0].image, stores[0].num_classes, 5, 1)
    return FewShotTraining(model, experiment, config.training, *stores)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    make_quick(patch)
    found = {
        name: front.outcome(
            runs.train(
                "prototypical",
                front.experiment(tmp_path_factory.mktemp(name)),
                front.config(**kind),
                quiet=True,
            ).run
        )
        for name, kind in KINDS.items()
    }
    patch.undo()
    return found


KINDS = {
    "adam": {},
    "sgd": {
        "optimizer": "sgd",
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "tasks": 1,
        "milestones": (0.2,),
    },
}


def assert_same(found, expected):
    for mine, theirs in zip(found[:2], expected[:2], strict=True):
        assert mine.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert torch.equal(mine[name], tensor), name
    assert found[2:] == expected[2:]


def at_update(monkeypatch, number, act):
    """Do something once, in the middle of an update."""
    collect, done = FewShotTraining.collect, []

    def troubled(self, rng):
        if int(self.module.updates) == number - 1 and not done:
            done.append(number)
            act()
        return collect(self, rng)

    monkeypatch.setattr(FewShotTraining, "collect", troubled)


# 3: before the first regular checkpoint and validation; 5: right after one; 11: well after the second
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [3, 5, 11])
def test_a_training_that_broke_goes_on_bit_for_bit(kind, number, uninterrupted, tmp_path, monkeypatch):
    def fail():
        raise OSError("power cut")

    at_update(monkeypatch, number, fail)
    with pytest.raises(OSError, match="power cut"):
        trained(tmp_path, front.config(**KINDS[kind]))
    (run,) = [each.parent for each in tmp_path.rglob("run.json")]
    assert_same(front.outcome(runs.resume(run, quiet=True).run), uninterrupted[kind])


def test_a_best_state_newer_than_the_checkpoint_does_no_harm(uninterrupted, tmp_path, monkeypatch):
    def fail():
        raise OSError("power cut")

    at_update(monkeypatch, 7, fail)  # validated after 4 updates, checkpoints after 0 and 8
    with pytest.raises(OSError, match="power cut"):
        trained(tmp_path, checkpoint_every=8)
    (run,) = [each.parent for each in tmp_path.rglob("run.json")]
    assert (run / "checkpoints" / "best.json").exists()
    assert checkpoints.latest(run / "checkpoints").name == "step_000000000"
    assert_same(front.outcome(runs.resume(run, quiet=True).run), uninterrupted["adam"])


def test_ctrl_c_saves_and_the_rest_is_as_if_nothing_had_been(uninterrupted, tmp_path, monkeypatch):
    at_update(monkeypatch, 6, lambda: os.kill(os.getpid(), signal.SIGINT))
    stopped = trained(tmp_path)
    assert stopped.run.info["reason"] == "stopped"
    assert checkpoints.latest(stopped.run.checkpoints).name == "step_000000012"
    assert_same(front.outcome(runs.resume(stopped.path, quiet=True).run), uninterrupted["adam"])


def test_a_longer_training_has_later_milestones(tmp_path):
    run = trained(tmp_path).run
    rates = run.metrics()["train/lr"]
    assert rates == [1e-3] * (UPDATES // 2) + [5e-4] * (UPDATES // 2)
    longer = runs.resume(run.path, episodes=48, quiet=True).run.metrics()["train/lr"]
    assert longer == [*rates, *[5e-4] * UPDATES]  # half of 24 updates had been done before


def test_a_longer_training_does_not_go_back_into_a_stage(tmp_path):
    usual = preset("meta-baseline", "strokes", 5, 1)
    episodic = replace(usual.training, way=5, query=2, tasks=2)
    config = replace(
        usual,
        training=episodic,
        pretraining=Pretraining(0.5, batch=4),
        backbone=replace(usual.backbone, channels=4),
    )
    run = runs.train("meta-baseline", front.experiment(tmp_path), config, quiet=True).run
    assert run.metrics()["train/stage"][-1] == 1.0
    with pytest.raises(ValueError, match=r"part 1 of this training is over.*48 episodes"):
        runs.resume(run.path, episodes=48, quiet=True)


def test_step_size_halves_every_so_many_updates(tmp_path):
    config = front.config(milestones=(), decay_every=5)
    assert trained(tmp_path, config).run.metrics()["train/lr"] == [1e-3] * 5 + [5e-4] * 5 + [2.5e-4] * 2


def test_the_best_state_is_that_of_the_highest_validation_accuracy(tmp_path, monkeypatch):
    to_come = [0.5, 0.9, 0.7]

    def judged(method, store, protocol, modes):
        assert store is front.load_once(
            "strokes", "validation", root=None, size=None, device="cpu"
        )  # never the test classes
        return {modes[0]: Judged(np.array([to_come[0], to_come.pop(0)]), 1.0)}

    monkeypatch.setattr(training, "judge", judged)
    run = trained(tmp_path).run
    tensors, state = checkpoints.load(run.checkpoints / "best")
    assert (state["accuracy"], state["updates"], state["steps"]) == (0.9, 8, 16)
    then, _ = checkpoints.load(run.checkpoints / "step_000000016")
    now, _ = checkpoints.load(run.checkpoints / "step_000000024")
    for name, tensor in tensors.items():
        assert torch.equal(tensor, then[f"module.{name}"]), name
    assert any(not torch.equal(tensor, now[f"module.{name}"]) for name, tensor in tensors.items())
    used, about = runs.open_run(run.path).method()
    assert about == {"state": "best", "steps": 16, "validation_accuracy": 0.9}
    for name, tensor in used.module.state_dict().items():
        assert torch.equal(tensor, tensors[f"method.{name}"]), name


def test_a_validation_that_is_no_number_is_not_the_best(tmp_path, monkeypatch, caplog):
    to_come = [float("nan"), 0.4, float("nan")]
    monkeypatch.setattr(
        training,
        "judge",
        lambda method, store, protocol, modes: {modes[0]: Judged(np.full(2, to_come.pop(0)), 1.0)},
    )
    run = trained(tmp_path).run
    assert checkpoints.load(run.checkpoints / "best")[1]["accuracy"] == 0.4
    assert "came to nan" in caplog.text


def test_a_damaged_best_state_says_how_to_do_without(tmp_path):
    run = trained(tmp_path)
    (run.path / "checkpoints" / "best.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"Without the files .*best\.\* the newest state is taken"):
        run.method()
    for each in (run.path / "checkpoints").glob("best.*"):
        each.unlink()
    assert run.method()[1]["state"] == "newest"


def test_accuracies_of_a_run_that_cannot_be_written_to_are_found_all_the_same(tmp_path, monkeypatch, caplog):
    run = trained(tmp_path)

    def refuse(path, content):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(fewshot_run, "write_json", refuse)
    found = run.evaluate(episodes=4, query=2, quiet=True)
    assert (len(found.judged), found.file) == (2, None)
    assert "Read-only file system" in caplog.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("momentum", -1.0),
        ("weight_decay", -1.0),
        ("max_grad_norm", -1.0),
        ("decay", 0.0),
        ("lr", float("inf")),
    ],
)
def test_settings_of_the_outer_optimiser_are_checked_by_name(field, value):
    with pytest.raises(ValueError, match=f"training.{field}={value}, expected"):
        EpisodicTraining(**{field: value})


def test_what_cannot_be_trained_leaves_no_run(tmp_path):
    with pytest.raises(ValueError, match="500 ways"):
        trained(tmp_path, front.config(way=500))
    assert not list(tmp_path.rglob("run.json"))


def test_training_never_touches_the_test_classes(tmp_path, monkeypatch):
    asked = []

    def load(data, split, **options):
        asked.append(split)
        return front.load_once(data, split, **options)

    monkeypatch.setattr(building, "load", load)
    trained(tmp_path)
    assert sorted(asked) == ["train", "validation"]


def test_validation_and_running_averages_see_the_same_episodes_whatever_the_seed(tmp_path, monkeypatch):
    seen, estimate = [], training.estimate_running

    def watched(module, forward, batches):
        seen.append(list(batches))
        estimate(module, forward, seen[-1])

    asked, judge = [], training.judge

    def judged(method, store, protocol, modes):
        asked.append(protocol)
        return judge(method, store, protocol, modes)

    monkeypatch.setattr(training, "estimate_running", watched)
    monkeypatch.setattr(training, "judge", judged)
    for seed in (0, 1):
        trained(tmp_path / str(seed), seed=seed)
    assert len(asked) == 6
    assert len(set(asked)) == 1
    assert len(seen) == 6  # before each of three validations, twice
    for batches in seen[1:]:
        for mine, first in zip(batches, seen[0], strict=True):
            assert all(map(torch.equal, pytree.tree_leaves(mine), pytree.tree_leaves(first)))


def test_running_averages_see_unchanged_images_where_training_does_not(tmp_path):
    plain = made(tmp_path)
    changed = made(tmp_path, front.config(augment="affine"))
    for mine, other in zip(plain._fixed_episodes(), changed._fixed_episodes(), strict=True):
        assert torch.equal(mine.support, other.support)
    drawn, unlike = (each.collect(np.random.default_rng(0)).data[1] for each in (plain, changed))
    assert torch.equal(drawn.classes, unlike.classes)
    assert not torch.equal(drawn.support, unlike.support)


def test_running_averages_are_estimated_before_a_validation_and_kept(tmp_path):
    algorithm = made(tmp_path)
    before = {name: each.clone() for name, each in algorithm.module.named_buffers()}
    algorithm.evaluate(np.random.default_rng(0))
    after = dict(algorithm.module.named_buffers())
    moved = [name for name, each in after.items() if not torch.equal(each, before[name])]
    assert moved
    assert "updates" not in moved
    tensors, _ = checkpoints.load(trained(tmp_path).run.checkpoints / "best")
    for name in moved:
        assert not torch.equal(tensors[name], before[name]), name


def test_training_by_running_averages_has_some_from_the_first_update_on(tmp_path):
    algorithm = made(tmp_path, front.config(statistics="running"))
    loss, _ = algorithm.loss(algorithm.collect(np.random.default_rng(0)).data)
    assert loss.isfinite()
    others = made(tmp_path, front.config(statistics="joint"))
    others.collect(np.random.default_rng(0))
    recorded = [name for name in dict(algorithm.module.named_buffers()) if name.endswith("recorded")]
    assert all(algorithm.module.get_buffer(name) for name in recorded)
    assert not any(others.module.get_buffer(name) for name in recorded)


def test_the_loss_of_several_tasks_is_the_mean_of_single_ones(tmp_path):
    algorithm = made(tmp_path)
    algorithm.module.double()
    batch = algorithm.collect(np.random.default_rng(0))
    assert batch.steps == 2
    episodes = pytree.tree_map(lambda e: e.double() if e.is_floating_point() else e, batch.data[1])
    loss, metrics = algorithm.loss((0, episodes))
    loss.backward()
    together = [each.grad.clone() for each in algorithm.module.parameters()]
    algorithm.module.zero_grad()
    algorithm.training = replace(algorithm.training, tasks=1)
    alone = []
    for task in range(2):
        one = pytree.tree_map(lambda each, task=task: each[task : task + 1], episodes)
        value, more = algorithm.loss((0, one))
        (value / 2).backward()
        alone.append((float(value.detach()), float(more["accuracy"])))
    assert float(loss.detach()) == pytest.approx(np.mean([value for value, _ in alone]), rel=1e-9)
    assert float(metrics["accuracy"]) == pytest.approx(np.mean([accuracy for _, accuracy in alone]))
    for mine, parameter in zip(together, algorithm.module.parameters(), strict=True):
        single = torch.zeros_like(mine) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(mine, single, rtol=1e-8, atol=1e-10)


def staged(shares, log):
    """Prototypical networks with stages that only pull at the first parameter, and write down their draws."""
    store = front.load_once("strokes", "train")
    model = build("prototypical", front.config(), store.image, store.num_classes, 5, 1)

    def stage(number, share):
        def draw(store, generator, done):
            log.append((number, done, int(torch.randint(10**6, (), generator=generator))))
            return torch.ones(3)

        def loss(params, batch):
            return batch.mean() * next(iter(params.values())).square().mean(), {"pull": batch.sum()}

        return Stage(draw, loss, share)

    return Method(model.module, model.task, tuple(stage(i, share) for i, share in enumerate(shares)))


def test_stages_come_first_in_order_and_by_their_shares(tmp_path):
    log = []
    algorithm = made(tmp_path, method=staged((0.25, 0.5), log))
    optimizer = optimizer_of(algorithm.method.module, algorithm.training, algorithm.updates)
    stages, names = [], []
    for update in range(UPDATES):
        batch = algorithm.collect(np.random.default_rng(update))
        metrics = optimizer.update(lambda batch=batch: algorithm.loss(batch.data))
        stages.append(metrics["stage"])
        names.append({"pull", "accuracy"} & metrics.keys())
    assert stages == [0.0] * 3 + [1.0] * 6 + [2.0] * 3
    assert names == [{"pull"}] * 9 + [{"accuracy"}] * 3
    assert [number for number, *_ in log] == [0] * 3 + [1] * 6
    assert [done for _, done, _ in log] == pytest.approx([i / 12 for i in range(9)])
    assert len({drawn for *_, drawn in log}) > 5


def test_a_stage_may_be_all_of_the_training(tmp_path):
    algorithm = made(tmp_path, method=staged((1.0,), []))
    for update in range(UPDATES):
        assert algorithm.collect(np.random.default_rng(update)).data[0] == 0


def test_shares_above_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="shares of the stages"):
        made(tmp_path, method=staged((0.6, 0.6), []))


def test_updates_are_rounded_up():
    assert number_of_updates(front.experiment("x", episodes=25), EpisodicTraining(tasks=4)) == 7


def test_a_method_without_parameters_is_only_judged(tmp_path):
    found = runs.train("nearest-centroid", front.experiment(tmp_path), quiet=True)
    assert found.run.rows == 1
    assert found.run.info["reason"] == "finished"
    assert 0.2 < found.evaluate(episodes=20).accuracy < 1


def test_low_precision_is_for_training_only(tmp_path):
    x, w, seen = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 3, 3), []
    module = torch.nn.Linear(1, 1)

    def task(params, episode, statistics):
        seen.append(torch.allclose(conv2d(x, w), torch.nn.functional.conv2d(x, w), atol=1e-5))
        return params["weight"].sum(), torch.zeros(len(episode.query_labels), 5)

    for precision, in_training in (("float32", True), ("bfloat16", False)):
        algorithm = made(tmp_path, front.config(precision=precision, tasks=1), Method(module, task))
        algorithm.loss(algorithm.collect(np.random.default_rng(0)).data)
        algorithm.evaluate(np.random.default_rng(0))
        assert seen[0] is in_training
        assert len(seen) > 1
        assert all(seen[1:])
        seen.clear()


def test_it_learns(tmp_path):
    config = front.config(tasks=1, way=10, query=5)
    found = trained(tmp_path, config, episodes=60, evaluate_every=0, validation_episodes=40)
    shown = found.run.metrics()["train/loss"]
    assert np.mean(shown[-15:]) < 0.8 * np.mean(shown[:5])
    assert isinstance(optimizer_of(found.method()[0].module, config.training, 10), GradientSteps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"way": 1}, "way=1"), ({"episodes": 0}, "episodes=0"), ({"seed": -1}, "seed=-1")],
)
def test_an_experiment_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        front.experiment("x", **changes)


def test_the_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "fewshot.md").read_text()
    (example,) = re.findall(r"```python\n(import torch\n.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example.replace("episodes=200", "episodes=30"), "fewshot.md", "exec"), {})
    assert 0.3 < float(capsys.readouterr().out.splitlines()[-1]) < 1


def test_fewer_validation_classes_than_ways_are_said(tmp_path, caplog):
    runs.train(
        "prototypical", front.experiment(tmp_path, episodes=2, way=50, query=1), front.config(), quiet=True
    )
    assert "validation has 40 classes: states are chosen at 40 ways, not at 50" in caplog.text


def test_weights_decay_and_learned_step_sizes_do_not():
    settings = EpisodicTraining(optimizer="sgd", lr=0.5, weight_decay=0.1)
    module = torch.nn.Module()
    module.net = torch.nn.Linear(1, 1, bias=False)
    register(module, {"rule.lr.net.weight": torch.ones(1)})
    before = dict(module.named_parameters())["net.weight"].item()
    optimizer_of(module, settings, 10).update(lambda: (0.0 * module.net.weight.sum(), {}))
    after = dict(module.named_parameters())
    assert after["net.weight"].item() == pytest.approx(before * (1 - 0.5 * 0.1))
    assert after["rule.lr.net.weight"].item() == 1.0


@pytest.mark.parametrize("end", [-1e-3, 0.1])
def test_a_step_size_that_would_not_fall_is_refused(end):
    with pytest.raises(ValueError, match=f"training.final_lr={end}, expected .* training.lr=0.001"):
        EpisodicTraining(lr=1e-3, anneal="cosine", final_lr=end)


def test_a_step_size_falls_either_steadily_or_at_milestones():
    for milestones in ({"milestones": (0.5,)}, {"decay_every": 5}):
        with pytest.raises(
            ValueError, match=r"leave out training\.milestones and .*--training\.decay-every None"
        ):
            EpisodicTraining(anneal="linear", **milestones)


def test_more_ways_than_classes_name_the_flag_of_training():
    store = front.load_once("strokes", "train").subset(range(4))
    with pytest.raises(ValueError, match=r"of 5 ways .* there are 4: lower --training\.way"):
        training_sampler(store, EpisodicTraining(), 5, 1)
