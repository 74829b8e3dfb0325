"""MAML: its meta-gradient, its special cases, and that it learns."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from metarl.adaptation import adapt
from metarl.supervised import runs
from metarl.supervised.inner_loop import learner, patterns_of, sgd, with_ways
from metarl.supervised.methods.config import Backbone, InnerLoop
from metarl.tasks import over_tasks
from tests.supervised import front
from tests.supervised.methods.smooth import (
    WAY,
    assert_slope,
    config_of,
    episode,
    episodes,
    gradients,
    made,
    wave,
)


@pytest.mark.parametrize("statistics", ["transductive", "joint", "support"])
def test_the_meta_gradient_is_that_of_finite_differences(statistics):
    method, params = made(config_of("maml", inner={"steps": 2, "lr": 0.3}), "maml")
    one = episode()
    grads = gradients(method.task(params, one, statistics)[0], params)
    assert_slope(lambda p: method.task(p, one, statistics)[0], params, grads)


def test_the_meta_gradient_of_a_regression_is_that_of_finite_differences():
    method, params = made(config_of("maml", "sinusoid", inner={"steps": 3, "lr": 0.05}), "maml", "sinusoid")
    one = wave()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, grads)


@pytest.mark.parametrize("name", ["maml", "fomaml"])
def test_vmap_chunks_and_loop_agree(name):
    method, params = made(config_of(name, inner={"steps": 2, "lr": 0.3}), name)

    def task(params, one):
        return method.task(params, one, "transductive")[0]

    found = {
        key: gradients(over_tasks(task, **how)(params, episodes(3)).sum(), params)
        for key, how in {
            "loop": {"how": "loop"},
            "vmap": {"how": "vmap"},
            "chunk": {"how": "vmap", "chunk": 2},
        }.items()
    }
    torch.testing.assert_close(found["vmap"], found["loop"], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found["chunk"], found["loop"], rtol=1e-9, atol=1e-11)


def explicit(method, params, one, lr, steps, first_order, head_lr=None, still=""):
    """MAML's loss on one task, written out with torch alone; batch norm by the batch of each call."""
    sizes = {name: lr if head_lr is None or name.startswith("net.") else head_lr for name in params}
    sizes |= {name: 0 for name in params if still and still in name}

    def scores(fast, images):
        net = {name.removeprefix("net."): each for name, each in fast.items() if name.startswith("net.")}
        return functional_call(method.module.net, net, (images,)) @ fast["head.weight"].T + fast["head.bias"]

    fast = dict(params)
    for _ in range(steps):
        inner = F.cross_entropy(scores(fast, one.support), one.support_labels)
        grads = torch.autograd.grad(inner, list(fast.values()), create_graph=not first_order)
        fast = {
            name: each - sizes[name] * grad for (name, each), grad in zip(fast.items(), grads, strict=True)
        }
    return F.cross_entropy(scores(fast, one.query), one.query_labels)


@pytest.mark.parametrize(("head_lr", "adapted"), [(None, "all"), (0.8, "all"), (0.8, "no-norms")])
@pytest.mark.parametrize("name", ["maml", "fomaml"])
def test_it_is_what_the_equations_say(name, head_lr, adapted):
    inner = {"steps": 2, "lr": 0.3, "adapted": adapted}
    method, params = made(config_of(name, inner=inner, head_lr=head_lr), name)
    one = episode()
    loss, _ = method.task(params, one, "transductive")
    still = ".norm." if adapted == "no-norms" else ""
    expected = explicit(method, params, one, 0.3, 2, name == "fomaml", head_lr, still)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients(loss, params), gradients(expected, params), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["meta-sgd", "maml++", "anil", "meta-curvature", "t-net", "geodesic"])
def test_relatives_have_a_step_size_of_the_heads_own_too(name):
    inner = {"steps": 1, "lr": 0.3, "adapted": "head" if name == "anil" else "all"}
    usual, params = made(config_of(name, inner=inner), name)
    method, started = made(config_of(name, inner=inner, head_lr=0.8), name)
    one = episode()
    assert not torch.equal(
        method.task(started, one, "transductive")[1], usual.task(params, one, "transductive")[1]
    )
    for key, each in started.items():
        if key.startswith("rule.lr."):
            assert (each - (0.8 if ".head." in key else 0.3)).abs().max() < 0.2  # `made` moves all a little
    with pytest.raises(ValueError, match=r"head_lr=0, expected a number above 0"):
        made(config_of(name, inner=inner, head_lr=0), name)


def test_first_order_is_another_gradient_of_the_same_loss():
    one, found = episode(), {}
    for name in ("maml", "fomaml"):
        method, params = made(config_of(name, inner={"steps": 2, "lr": 0.3}), name)
        found[name] = method.task(params, one, "transductive")[0], params
    torch.testing.assert_close(found["maml"][0], found["fomaml"][0])
    exact, first = (gradients(*found[name])["net.blocks.0.conv.weight"] for name in ("maml", "fomaml"))
    assert (exact - first).norm() > 0.01 * exact.norm()


def test_no_inner_steps_are_plain_training():
    method, params = made(config_of("maml", inner={"steps": 0}), "maml")
    one = episode()
    loss, scores = method.task(params, one, "transductive")
    features = method.module.net(one.query)
    expected = features @ params["head.weight"].T + params["head.bias"]
    torch.testing.assert_close(scores, expected)
    plain = F.cross_entropy(expected, one.query_labels)
    torch.testing.assert_close(gradients(loss, params), gradients(plain, params))


def test_from_a_head_of_zeros_one_step_makes_a_classifier_of_the_supports_features():
    method, params = made(config_of("maml", inner={"steps": 1, "lr": 0.7}, zero_head=True), "maml")
    one = episode()
    scores = method.task(params, one, "transductive")[1]
    support, query = method.module.net(one.support), method.module.net(one.query)
    told = F.one_hot(one.support_labels, WAY).to(support) - 1 / WAY
    expected = 0.7 * (query @ support.T + 1) @ told / len(support)  # the network's own gradient is zero
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("name", ["maml", "anil", "maml++", "meta-curvature", "t-net", "geodesic"])
def test_a_head_of_zeros_favours_no_class_and_fits_any_number_of_ways(name):
    inner = {"steps": 2, "lr": 0.3, "adapted": "head" if name == "anil" else "all"}
    method, params = made(config_of(name, inner=inner, zero_head=True), name)
    one = episode()
    scores = method.task(params, one, "transductive")[1]
    order = torch.randperm(WAY, generator=torch.Generator().manual_seed(1))
    other = one._replace(support_labels=order[one.support_labels], query_labels=order[one.query_labels])
    torch.testing.assert_close(method.task(params, other, "transductive")[1][:, order], scores)
    more = one._replace(classes=torch.arange(WAY + 2))
    assert method.task(params, more, "transductive")[1].shape == (len(one.query), WAY + 2)


def test_the_meta_gradient_from_a_head_of_zeros_is_that_of_finite_differences():
    method, params = made(config_of("maml", inner={"steps": 3, "lr": 0.3}, zero_head=True), "maml")
    one = episode()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, grads)
    assert not grads["head.weight"].any()
    assert grads["net.blocks.0.conv.weight"].any()


def test_testing_takes_steps_of_its_own():
    three, params = made(config_of("maml", inner={"steps": 1, "test_steps": 3}), "maml")
    always, _ = made(config_of("maml", inner={"steps": 3}), "maml")
    one = episode()
    with torch.no_grad():
        expected = always.task(params, one, "transductive")[1]
        assert torch.equal(three.tested(params, one, "transductive")[1], expected)
        assert not torch.equal(three.task(params, one, "transductive")[1], expected)


def test_other_ways_take_the_rows_of_the_head_round_and_round():
    params = {"head.weight": torch.arange(3.0).view(3, 1), "head.bias": torch.arange(3.0)}
    params["rule.lr.head.weight"] = torch.arange(6.0).view(2, 3, 1)
    params["rule.lr.head.bias"] = torch.ones(2)
    five = episode()._replace(classes=torch.arange(5))
    found = with_ways(params, five)
    assert found["head.bias"].tolist() == [0, 1, 2, 0, 1]
    assert found["head.weight"].flatten().tolist() == [0, 1, 2, 0, 1]
    assert found["rule.lr.head.weight"].flatten().tolist() == [0, 1, 2, 0, 1, 3, 4, 5, 3, 4]
    assert found["rule.lr.head.bias"] is params["rule.lr.head.bias"]
    assert with_ways(params, wave()) == params
    assert with_ways(params, episode()._replace(classes=torch.arange(WAY))) == params


def test_the_inner_gradient_is_bounded_entry_by_entry():
    slopes = torch.tensor([3.0, -4.0, 0.001])
    params = {"w": torch.zeros(3, requires_grad=True)}
    rule = sgd(InnerLoop(lr=2.0, clip=0.01))
    fast = adapt(params, lambda fast, data: (slopes * fast["w"]).sum(), None, rule=rule)
    torch.testing.assert_close(fast["w"].detach(), -2 * torch.tensor([0.01, -0.01, 0.001]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"lr": 0.0}, "inner.lr"), ({"steps": -1}, "inner.steps"), ({"adapted": "body"}, "inner.adapted")],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        config_of("maml", inner=wrong)


def test_it_learns_to_learn(tmp_path, monkeypatch):
    from metarl.supervised import building

    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(runs, "illustrate", lambda *args: None)
    config = config_of("maml", inner={"test_steps": 1}, training={"tasks": 4, "lr": 0.01})
    experiment = front.experiment(tmp_path, way=3, episodes=160, evaluate_every=0, checkpoint_every=0)
    run = runs.train("maml", experiment, config, quiet=True)
    found = run.evaluate(episodes=40, steps=(0, 1))
    before, after = (float(each.accuracies.mean()) for each in found.judged.values())
    assert before < 0.45  # three classes: chance
    assert after > before + 0.15
    assert [row["steps"] for row in found.summary()] == [0, 1]
    assert "inner steps" in found.table()


@pytest.mark.parametrize(
    "net",
    [Backbone(), Backbone("resnet12"), Backbone("wrn-28-10", channels=1), Backbone("koch", norm="batch")],
)
def test_without_norms_all_layers_and_the_head_adapt_in_every_network(net):
    module = learner(net, (3, 105, 105) if net.name == "koch" else (3, 32, 32), 5).module
    adapted = patterns_of("no-norms", dict(module.named_parameters()))
    kinds = (nn.Conv2d, nn.Linear)
    layers = {name for name, each in module.net.named_modules() if isinstance(each, kinds)}
    of_layers = {name for name, _ in module.net.named_parameters() if name.rpartition(".")[0] in layers}
    assert of_layers
    assert adapted == (
        *(f"net.{name}" for name, _ in module.net.named_parameters() if name in of_layers),
        "head.*",
    )
