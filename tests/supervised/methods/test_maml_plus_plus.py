"""MAML++: its meta-gradient, each of its parts by itself, and MAML with all of them off."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metarl.supervised.methods.maml_plus_plus import schedule, step_weights
from metarl.supervised.normalisation import estimate_running
from metarl.supervised.training import schedule_of
from metarl.tasks import over_tasks
from tests.supervised.methods.smooth import assert_slope, config_of, episode, episodes, gradients, made

OFF = {
    "multi_step_share": 0.0,
    "per_step_statistics": False,
    "per_step_affine": False,
    "learned_rates": False,
}
INNER = {"steps": 2, "lr": 0.3}


def config(training=(), **changes):
    return config_of("maml++", inner=INNER, training=training, **changes)


def prepared(training=(), **changes):
    return made(config(training, **changes), "maml++")


def after_training(method, params, one, share, **changes):
    """The loss that is trained on, of one task, at a share of the training."""
    many = type(one)(*(each.unsqueeze(0) for each in one))
    return method.stages[0].loss(params, (many, schedule(config(**changes), share)))[0]


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_meta_gradient_is_that_of_finite_differences(share):
    method, params = prepared()
    one = episode()
    grads = gradients(after_training(method, params, one, share), params)
    assert not any(name.startswith("net.blocks") and ".norm." in name for name in grads)
    for name in ("rule.lr.head.weight", "norms.layers.0.1.weight", "norms.layers.1.0.bias"):
        assert grads[name].abs().max() > 0, name
    assert_slope(lambda p: after_training(method, p, one, share), params, grads)


def test_with_every_switch_off_it_is_maml():
    ours, params = prepared(training={"anneal": "none", "final_lr": 0.0}, **OFF)
    maml, _ = made(config_of("maml", inner=INNER), "maml")
    maml.module.load_state_dict(
        {name: each for name, each in ours.module.state_dict().items() if not name.startswith("norms.")}
    )
    theirs = dict(maml.module.named_parameters())
    assert theirs.keys() == params.keys()
    many = episodes(3)
    for share in (0.0, 0.9):
        loss, _ = ours.stages[0].loss(params, (many, schedule(config(**OFF), share)))
        task = lambda p, one: maml.task(p, one, "transductive")[0]  # noqa: E731
        expected = over_tasks(task)(theirs, many).mean()
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(
            gradients(loss, params), gradients(expected, theirs), rtol=1e-10, atol=1e-12
        )
    assert schedule_of(config_of("maml++", training={"anneal": "none"}).training, 10)(9) == 1


def test_the_loss_counts_every_step_by_its_weight():
    changes = {**OFF, "multi_step_share": 0.5}
    method, params = prepared(**changes)
    one = episode()
    each = []
    for steps in (1, 2):
        maml, _ = made(config_of("maml", inner={**INNER, "steps": steps}), "maml")
        each.append(maml.task(params, one, "transductive")[0])
    first = step_weights(2, 0.1, 0.5)[0]
    assert first == pytest.approx(0.4)
    expected = first * each[0] + (1 - first) * each[1]
    torch.testing.assert_close(
        after_training(method, params, one, 0.1, **changes), expected, rtol=1e-10, atol=0
    )
    torch.testing.assert_close(
        after_training(method, params, one, 0.5, **changes), each[1], rtol=1e-10, atol=0
    )


def test_weights_move_to_the_last_step():
    assert step_weights(5, 0.0, 0.1) == pytest.approx([0.2] * 5)
    assert step_weights(5, 0.05, 0.1) == pytest.approx([0.1] * 4 + [0.6])
    assert step_weights(5, 0.0999, 0.1) == pytest.approx([0.006] * 4 + [0.976])
    assert step_weights(5, 0.1, 0.1) == [0, 0, 0, 0, 1]
    assert step_weights(5, 0.0, 0.0) == [0, 0, 0, 0, 1]
    assert step_weights(1, 0.0, 0.5) == [1]


def test_gradients_are_of_first_order_in_the_beginning():
    method, params = prepared(first_order_share=0.5, **OFF)
    one = episode()
    for share, name in ((0.4, "fomaml"), (0.6, "maml")):
        other, _ = made(config_of(name, inner=INNER), name)
        expected = gradients(other.task(params, one, "transductive")[0], params)
        found = gradients(after_training(method, params, one, share, first_order_share=0.5, **OFF), params)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_every_step_has_a_learned_step_size_for_every_tensor():
    method, params = prepared(**{**OFF, "learned_rates": True})
    one = episode()
    fast = {name: each for name, each in params.items() if not name.startswith("rule.")}
    net = torch.func.functional_call

    def scores(p, images):
        inside = {name.removeprefix("net."): each for name, each in p.items() if name.startswith("net.")}
        return net(method.module.net, inside, (images,)) @ p["head.weight"].T + p["head.bias"]

    for step in range(2):
        loss = F.cross_entropy(scores(fast, one.support), one.support_labels)
        grads = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
        fast = {
            name: each - params[f"rule.lr.{name}"][step] * grad
            for (name, each), grad in zip(fast.items(), grads, strict=True)
        }
    expected = scores(fast, one.query)
    torch.testing.assert_close(method.task(params, one, "transductive")[1], expected, rtol=1e-9, atol=1e-10)


def test_scale_and_shift_belong_to_their_step():
    method, params = prepared(**{**OFF, "per_step_affine": True})
    one = episode()
    with torch.no_grad():
        before = method.task(params, one, "transductive")[1]
        moved = {**params, "norms.layers.1.2.bias": params["norms.layers.1.2.bias"] + 1}
        other = method.task(moved, one, "transductive")[1]
        unused = {**params, "net.blocks.2.norm.bias": params["net.blocks.2.norm.bias"] + 1}
        assert torch.equal(method.task(unused, one, "transductive")[1], before)
    assert not torch.allclose(other, before)


def test_averages_belong_to_their_step():
    method, params = prepared(per_step_affine=False, learned_rates=False)
    batches = [episode(seed) for seed in (1, 2)]
    estimate_running(method.module, lambda one: method.task(params, one, "joint"), batches)
    first, second = (layers[0] for layers in method.module.norms.layers)
    # The first block sees the support by itself at step 1, and at step 2 the support, then support and query together.
    maps = [
        torch.conv2d(one.support, params["net.blocks.0.conv.weight"], stride=2, padding=1) for one in batches
    ]
    expected = torch.stack([each.mean((0, 2, 3)) for each in maps]).mean(0)
    torch.testing.assert_close(first.running_mean, expected)
    assert (int(first.recorded), int(second.recorded)) == (2, 4)
    assert not torch.allclose(second.running_mean, expected)
    own = method.module.net.blocks[0].norm
    assert int(own.recorded) == 0
    with torch.no_grad():
        running = method.task(params, batches[0], "running")[1]
        second.running_mean += 1
        assert not torch.allclose(method.task(params, batches[0], "running")[1], running)


def test_steps_beyond_the_trained_ones_have_what_the_last_has():
    config = config_of("maml++", inner={**INNER, "test_steps": 4})
    method, params = made(config, "maml++")
    with torch.no_grad():
        scores = method.tested(params, episode(), "transductive")[1]
    assert scores.isfinite().all()
    assert not torch.allclose(scores, method.task(params, episode(), "transductive")[1])
    norms = method.module.norms
    for step, layer in ((0, 0), (1, 1), (2, 1), (3, 1)):
        found, own = norms.at(params, step), norms.layers[layer][2]
        assert found["net.blocks.2.norm.weight"] is params[f"norms.layers.{layer}.2.weight"]
        assert found["net.blocks.2.norm.bias"] is params[f"norms.layers.{layer}.2.bias"]
        assert found["net.blocks.2.norm.running_mean"] is own.running_mean


def test_the_outer_step_size_follows_a_cosine():
    training = config_of("maml++").training
    factor = schedule_of(training, 100)
    rates = [training.lr * factor(done) for done in range(101)]
    assert (rates[0], rates[100]) == pytest.approx((1e-3, 1e-5))
    assert rates[50] == pytest.approx((1e-3 + 1e-5) / 2)
    assert np.all(np.diff(rates) < 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"multi_step_share": 2.0}, "multi_step_share"), ({"first_order_share": -1.0}, "first_order_share")],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        config_of("maml++", **wrong)
    with pytest.raises(ValueError, match=r"inner\.steps=0"):
        config_of("maml++", inner={"steps": 0})
