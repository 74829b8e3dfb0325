"""Reptile: its outer gradient, its minibatches, and what the inner optimiser remembers."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from metarl.supervised import building, preset, runs
from metarl.supervised.methods.reptile import minibatches
from metarl.tasks import over_tasks
from metarl.update_rules import AdamWithoutMomentum
from tests.supervised import front
from tests.supervised.methods.smooth import WAY, D, config_of, episode, episodes, gradients, made, wave

INNER = {"steps": 4, "lr": 0.01}


def scores_of(method, params, images):
    net = {name.removeprefix("net."): each for name, each in params.items() if name.startswith("net.")}
    return functional_call(method.module.net, net, (images,)) @ params["head.weight"].T + params["head.bias"]


def trained_by_adam(method, params, parts, lr):
    """The weights after torch's own Adam with beta1 = 0, one step for each part of the support."""
    fast = {name: each.detach().clone().requires_grad_() for name, each in params.items()}
    adam = torch.optim.Adam(fast.values(), lr=lr, betas=(0.0, 0.999))
    for part in parts:
        adam.zero_grad()
        F.cross_entropy(scores_of(method, fast, part.support), part.support_labels).backward()
        adam.step()
    return {name: each.detach() for name, each in fast.items()}


@pytest.mark.parametrize("size", [6, 2])
def test_the_outer_gradient_is_the_way_to_where_torchs_adam_leads(size):
    config = config_of("reptile", inner=INNER, batch=size, keep_averages=False)
    method, params = made(config, "reptile")
    one = episode()
    loss, scores = method.task(params, one, "transductive")
    after = trained_by_adam(method, params, minibatches(one, size, 4), 0.01)
    expected = {name: params[name].detach() - after[name] for name in params}
    torch.testing.assert_close(gradients(loss, params), expected, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(scores, scores_of(method, after, one.query), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(loss, F.cross_entropy(scores, one.query_labels))


def test_of_several_tasks_it_is_the_mean_of_their_ways():
    config = config_of("reptile", inner=INNER, keep_averages=False)
    method, params = made(config, "reptile")
    many = episodes(3)

    def task(params, one):
        return method.task(params, one, "transductive")[0]

    ways = []
    for i in range(3):
        one = type(many)(*(each[i] for each in many))
        after = trained_by_adam(method, params, minibatches(one, 10, 4), 0.01)
        ways.append({name: params[name].detach() - after[name] for name in params})
    mean = {name: torch.stack([each[name] for each in ways]).mean(0) for name in params}
    for how in ({"how": "loop"}, {"how": "vmap"}, {"how": "vmap", "chunk": 2}):
        found = gradients(over_tasks(task, **how)(params, many).mean(), params)
        torch.testing.assert_close(found, mean, rtol=1e-6, atol=1e-9)


def test_minibatches_are_balanced_and_take_everything_in_turn():
    one = episode(shot=4)
    rows = one._replace(support=torch.arange(12.0).view(12, 1))
    parts = list(minibatches(rows, 6, 5))
    assert [part.support.flatten().tolist() for part in parts[:2]] == [
        [0, 2, 4, 6, 8, 10],
        [1, 3, 5, 7, 9, 11],
    ]
    assert all(part.support_labels.bincount().tolist() == [2] * WAY for part in parts)
    assert torch.equal(parts[2].support, parts[0].support)
    (whole,) = minibatches(wave(), 6, 1)
    assert torch.equal(whole.support_targets, wave().support_targets)


def test_averages_go_on_as_torchs_do():
    rule, params = AdamWithoutMomentum(0.1), {"x": torch.tensor([1.0, -2.0], dtype=D)}
    theirs = params["x"].clone().requires_grad_()
    adam = torch.optim.Adam([theirs], 0.1, betas=(0.0, 0.999))
    for _ in range(5):
        adam.zero_grad()
        (theirs**4).sum().backward()
        adam.step()
        params = {**params, **rule.update(params, {"x": 4 * params["x"] ** 3})}
    torch.testing.assert_close(params["x"], theirs.detach())
    assert params["rule.steps"] == 5


def test_training_keeps_the_mean_averages_of_its_tasks():
    method, params = made(config_of("reptile", inner=INNER, training={"tasks": 2}), "reptile")
    memory, many = method.module.memory, episodes(2)
    one = [type(many)(*(each[i] for each in many)) for i in range(2)]
    squares = []
    for each in one:
        grads = []
        fast = params
        for part in minibatches(each, 10, 4):  # the same steps, watched
            leaves = {name: value.detach().requires_grad_() for name, value in fast.items()}
            loss = F.cross_entropy(scores_of(method, leaves, part.support), part.support_labels)
            grads.append(torch.autograd.grad(loss, list(leaves.values())))
            fast = trained_by_adam(method, params, minibatches(each, 10, len(grads)), 0.01)
        square = 0.0
        for step in grads:
            square = 0.999 * square + 0.001 * torch.cat([grad.flatten() for grad in step]).square()
        squares.append(square)
    method.stages[0].loss(params, (many, 0.0))
    torch.testing.assert_close(memory.squares, torch.stack(squares).mean(0), rtol=1e-6, atol=1e-12)
    assert memory.steps == 4
    first = memory.squares.clone()
    method.tested(params, one[0], "transductive")
    assert torch.equal(memory.squares, first)  # testing leaves no trace


def test_it_learns_to_learn(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(runs, "illustrate", lambda *args: None)
    config = preset("reptile", "strokes", 3, 1)
    config = replace(
        config,
        backbone=replace(config.backbone, channels=6),
        training=replace(config.training, test_statistics="transductive"),
        inner=replace(config.inner, steps=5, test_steps=5, lr=1e-2),
    )
    experiment = front.experiment(tmp_path, way=3, episodes=90, evaluate_every=0, checkpoint_every=0)
    found = runs.train("reptile", experiment, config, quiet=True).evaluate(
        episodes=40, steps=(0, 5), statistics=["transductive"]
    )
    before, after = (float(each.accuracies.mean()) for each in found.judged.values())
    assert before < 0.5
    assert after > before + 0.15


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="batch=0"):
        config_of("reptile", batch=0)
    with pytest.raises(ValueError, match="steps=0"):
        config_of("reptile", inner={"steps": 0})
    with pytest.raises(ValueError, match="adapted='head', expected 'all'"):
        config_of("reptile", inner={"adapted": "head"})
