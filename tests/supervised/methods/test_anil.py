"""ANIL: two ways to its meta-gradient, MAML as its special case, and NIL."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from metarl.adaptation import adapt
from metarl.supervised import building, runs
from metarl.supervised.inner_loop import Learner, head
from metarl.transforms import stateless
from metarl.update_rules import SGD
from tests.supervised import front
from tests.supervised.methods.smooth import WAY, assert_slope, config_of, episode, gradients, made, wave


@pytest.mark.parametrize("data", ["strokes", "sinusoid"])
def test_the_meta_gradient_is_that_of_finite_differences(data):
    method, params = made(config_of("anil", data, inner={"steps": 2, "lr": 0.3}), "anil", data)
    one = wave() if data == "sinusoid" else episode()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, grads)


def test_features_seen_once_are_as_good_as_features_seen_at_every_step():
    method, params = made(config_of("anil", inner={"steps": 3, "lr": 0.3}), "anil")
    one = episode()
    network = Learner(method.module, stateless(method.module.net, "net."))
    loss = partial(network.support_loss, statistics="transductive")
    fast = adapt(params, loss, one, rule=SGD(0.3), steps=3, adapted=("head.*",))
    assert fast["net.blocks.0.conv.weight"] is params["net.blocks.0.conv.weight"]
    expected = F.cross_entropy(
        head(fast, network.features(fast, one.query, statistics="batch")), one.query_labels
    )
    found = method.task(params, one, "transductive")[0]
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)
    torch.testing.assert_close(gradients(found, params), gradients(expected, params), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("statistics", ["transductive", "joint", "support"])
def test_with_all_parameters_adapted_it_is_maml(statistics):
    inner, one = {"steps": 2, "lr": 0.3, "adapted": "all"}, episode()
    losses = []
    for name in ("anil", "maml"):
        method, params = made(config_of(name, inner=inner), name)
        loss = method.task(params, one, statistics)[0]
        losses.append((loss, gradients(loss, params)))
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)


def test_nil_answers_by_mean_cosines():
    config = config_of("anil", test="nil")
    method, params = made(config, "anil")
    one = episode()
    with torch.no_grad():
        loss, scores = method.tested(params, one, "transductive")
        support, query = method.module.net(one.support), method.module.net(one.query)
    expected = torch.zeros_like(scores)
    for i in range(len(query)):
        for w in range(WAY):
            members = [x for x, y in zip(support, one.support_labels, strict=True) if int(y) == w]
            cosines = [float(query[i] @ x / query[i].norm() / x.norm()) for x in members]
            expected[i, w] = 10 * sum(cosines) / len(cosines)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(loss, F.cross_entropy(expected, one.query_labels))
    adapting = method.task(params, one, "transductive")[1]
    assert not torch.equal(adapting, scores)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="test='nli', expected"):
        config_of("anil", test="nli")
    with pytest.raises(ValueError, match="a regression has none"):
        made(config_of("anil", "sinusoid", test="nil"), "anil", "sinusoid")


def test_without_a_head_there_are_no_inner_steps_to_choose(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(runs, "illustrate", lambda *args: None)
    run = runs.train("anil", front.experiment(tmp_path), config_of("anil", test="nil"), quiet=True)
    with pytest.raises(ValueError, match="test='nil' takes no inner steps"):
        run.evaluate(steps=[1, 5])
