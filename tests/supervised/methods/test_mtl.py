"""MTL: what is frozen and what learns, its meta-gradient, and hard tasks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metarl import checkpoints
from metarl.supervised import building, runs
from metarl.supervised.methods.mtl import HardClasses, hardest, transferred
from metarl.supervised.presets.pretraining import Pretraining
from metarl.supervised.training import FewShotTraining, optimizer_of
from tests.supervised import front
from tests.supervised.methods.smooth import (
    QUERY,
    WAY,
    D,
    assert_slope,
    config_of,
    episode,
    gradients,
    made,
    store,
)

INNER = {"steps": 3, "test_steps": 3, "lr": 0.3}


def prepared(**changes):
    return made(config_of("mtl", inner={**INNER, **changes.pop("inner", {})}, **changes), "mtl")


def test_the_exact_meta_gradient_is_that_of_finite_differences():
    method, params = prepared(inner={"first_order": False})
    one = episode()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    learned = {
        name: each for name, each in grads.items() if name.split(".")[0] in ("factors", "shifts", "head")
    }
    assert all(not each.any() for name, each in grads.items() if name not in learned)
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, learned)


def test_the_first_order_gradient_is_that_at_the_adapted_head():
    method, params = prepared()
    one = episode()
    scaled = transferred(params)
    net = {name.removeprefix("net."): each for name, each in scaled.items() if name.startswith("net.")}

    def features(images):
        return torch.func.functional_call(method.module.net, net, (images,))

    weight, bias = params["head.weight"].detach(), params["head.bias"].detach()
    for _ in range(3):
        weight, bias = weight.requires_grad_(), bias.requires_grad_()
        loss = F.cross_entropy(features(one.support).detach() @ weight.T + bias, one.support_labels)
        by_weight, by_bias = torch.autograd.grad(loss, (weight, bias))
        weight, bias = (weight - 0.3 * by_weight).detach(), (bias - 0.3 * by_bias).detach()
    # What is added to the head's start is added to the adapted head.
    scores = features(one.query) @ (weight + params["head.weight"] - params["head.weight"].detach()).T
    expected = F.cross_entropy(
        scores + bias + params["head.bias"] - params["head.bias"].detach(), one.query_labels
    )
    loss = method.task(params, one, "transductive")[0]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, params), gradients(expected, params), rtol=1e-8, atol=1e-11)


def test_kernels_are_scaled_and_shifts_shifted():
    kernel, bias = torch.arange(8.0).view(2, 1, 2, 2), torch.tensor([1.0, 2.0])
    params = {
        "net.c.weight": kernel,
        "net.n.bias": bias,
        "net.n.weight": bias,
        "factors.c.weight": torch.tensor([10.0, -5.0]).view(2, 1, 1, 1),
        "shifts.n.bias": torch.tensor([0.0, 30.0]),
    }
    found = transferred(params)
    assert torch.equal(found["net.c.weight"], torch.stack([2 * kernel[0], 0.5 * kernel[1]]))
    assert found["net.n.bias"].tolist() == [1, 5]
    assert found["net.n.weight"].tolist() == [1, 2]
    fresh = made(config_of("mtl"), "mtl")[1]
    shapes = {
        name: tuple(each.shape) for name, each in fresh.items() if name.split(".")[0] in ("factors", "shifts")
    }
    assert shapes["factors.blocks.1.conv.weight"] == (4, 4, 1, 1)
    assert shapes["shifts.blocks.1.norm.bias"] == (4,)
    assert len(shapes) == 8


def test_part_one_trains_the_network_and_part_two_leaves_it_as_it_is(tmp_path):
    config = config_of(
        "mtl", inner={"steps": 2}, training={"tasks": 2}, pretraining=Pretraining(0.5, batch=8)
    )
    torch.manual_seed(0)
    method, _ = made(config, "mtl")
    method.module.float()
    experiment = front.experiment(tmp_path, way=WAY, episodes=16)
    training = FewShotTraining(method, experiment, config.training, store(), None)
    optimizer = optimizer_of(method.module, config.training, training.updates, method.stages)
    seen = [{name: each.clone() for name, each in method.module.named_parameters()}]
    for update in range(8):
        batch = training.collect(np.random.default_rng(update))
        optimizer.update(lambda data=batch.data: training.loss(data))
        seen.append({name: each.detach().clone() for name, each in method.module.named_parameters()})
    parts = [
        {name for name in seen[0] if not torch.equal(seen[a][name], seen[b][name])}
        for a, b in ((0, 4), (4, 8))
    ]
    first, second = ({name.split(".")[0] for name in part} for part in parts)
    assert first == {"net", "classifier"}
    assert second == {"factors", "shifts", "head"}
    assert (method.module.hard.pool >= 0).sum() == 8  # a class for each of four times two tasks
    kept = optimizer.state_dict()
    again = optimizer_of(method.module, config.training, training.updates, method.stages)
    again.load_state_dict(kept)
    assert again.updates == 8
    for name, value in again.state_dict().items():
        assert torch.equal(value, kept[name]), name


def test_factors_learn_ten_times_slower_than_the_head():
    factor = torch.zeros(1, 1, 1, 1, requires_grad=True)
    scaled, plain = torch.optim.Adam([factor], 1e-3), torch.ones(1, 1, 1, 1, requires_grad=True)
    direct = torch.optim.Adam([plain], 1e-4, eps=1e-12)
    for _ in range(5):
        params = {"net.c.weight": torch.ones(1, 1, 1, 1), "factors.c.weight": factor}
        for value, optimizer in ((transferred(params)["net.c.weight"], scaled), (plain, direct)):
            optimizer.zero_grad()
            (value**3).sum().backward()
            optimizer.step()
    found = transferred({"net.c.weight": torch.ones(1, 1, 1, 1), "factors.c.weight": factor})
    torch.testing.assert_close(found["net.c.weight"], plain, rtol=1e-6, atol=1e-7)


def test_the_hardest_class_is_the_one_with_fewest_queries_right():
    one = episode()._replace(classes=torch.tensor([40, 50, 60]))
    sure = 5 * F.one_hot(one.query_labels, WAY).to(D)
    assert len(sure) == WAY * QUERY
    wrong = sure.clone()
    wrong[2:4] = wrong[2:4].roll(1, 1)  # both queries of class 1
    wrong[0] = wrong[0].roll(1)  # and one of class 0
    assert int(hardest(wrong, one)) == 50
    unsure = sure.clone()
    unsure[5] *= 0.1
    assert int(hardest(unsure, one)) == 60  # all are right: the least likely


def test_the_pool_holds_the_latest_classes():
    hard = HardClasses(4)
    assert hard.known().tolist() == []
    hard.add(torch.tensor([7, 3]))
    assert hard.known().tolist() == [3, 7]
    hard.add(torch.tensor([5, 7, 9]))
    assert hard.pool.tolist() == [3, 5, 7, 9]
    hard.add(torch.arange(10))
    assert hard.pool.tolist() == [6, 7, 8, 9]


def test_hard_tasks_are_of_classes_in_the_pool_first():
    config = config_of("mtl", hard=1.0, training={"tasks": 20})
    method, _ = made(config, "mtl")
    method.module.hard.add(torch.tensor([1, 6]))
    drawn, _ = method.stages[1].draw(store(), torch.Generator().manual_seed(0), 0.5)
    assert all({1, 6} <= set(classes) for classes in drawn.classes.tolist())
    assert {classes.index(6) for classes in drawn.classes.tolist()} == {0, 1, 2}  # labels stay random
    assert len(set(drawn.classes.flatten().tolist())) >= 6
    method.module.hard.add(torch.tensor([0, 2, 4]))
    drawn, _ = method.stages[1].draw(store(), torch.Generator().manual_seed(0), 0.5)
    assert set(drawn.classes.flatten().tolist()) == {0, 1, 2, 4, 6}
    never, _ = made(replace(config, hard=0.0), "mtl")
    never.module.hard.add(torch.tensor([1, 6]))
    drawn, _ = never.stages[1].draw(store(), torch.Generator().manual_seed(0), 0.5)
    assert any(6 not in classes for classes in drawn.classes.tolist())


def test_a_training_that_stopped_goes_on_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(runs, "illustrate", lambda *args: None)
    config = config_of("mtl", inner={"steps": 1, "test_steps": 1}, training={"tasks": 2, "milestones": ()})
    config = replace(config, pretraining=Pretraining(0.25, batch=8))

    def experiment(name):
        return front.experiment(tmp_path / name, way=3, episodes=16, evaluate_every=0, checkpoint_every=1)

    whole = runs.train("mtl", experiment("whole"), config, quiet=True)
    collect = FewShotTraining.collect

    def breaking(self, rng):
        if int(self.module.updates) == 6:
            raise RuntimeError("the power is gone")
        return collect(self, rng)

    monkeypatch.setattr(FewShotTraining, "collect", breaking)
    with pytest.raises(RuntimeError, match="the power is gone"):
        runs.train("mtl", experiment("parts"), config, quiet=True)
    monkeypatch.setattr(FewShotTraining, "collect", collect)
    (path,) = (tmp_path / "parts").glob("strokes/mtl/*")
    parts = runs.resume(path, quiet=True)
    one, other = (checkpoints.load(checkpoints.latest(each.run.checkpoints))[0] for each in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("wrong", "message"), [({"hard": 1.5}, "hard=1.5"), ({"pool": 0}, "pool=0")])
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        config_of("mtl", **wrong)


def test_without_a_first_part_it_needs_a_start():
    method, params = made(config_of("mtl", pretraining=Pretraining(share=0.0)), "mtl")
    assert "pretraining.share=0 leaves the kernels as they are drawn" in method.needs_start
    assert len(method.stages) == 1
    assert not any(name.startswith("classifier.") for name in params)
    assert not made(config_of("mtl"), "mtl")[0].needs_start
