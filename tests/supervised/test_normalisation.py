"""By which images features are normalised: each mode against its own definition."""

import pytest
import torch

from metarl.nn import BatchNorm, stateless
from metarl.supervised.backbones import Conv4
from metarl.supervised.episodes import Episode
from metarl.supervised.normalisation import embed, embed_query, embed_support, estimate_running
from metarl.tasks import over_tasks

D = torch.float64
MODES = ["joint", "transductive", "support", "running", "one_query"]


def net():
    torch.manual_seed(0)
    made = Conv4((1, 16, 16), channels=4, activation="leaky_relu").to(D)
    with torch.no_grad():
        for each in made.parameters():
            each += 0.3 * torch.randn_like(each)
    return made


def episode(tasks=(), seed=0, queries=7):
    draw = torch.Generator().manual_seed(seed)
    support = torch.randn(*tasks, 6, 1, 16, 16, dtype=D, generator=draw)
    query = 1 + 2 * torch.randn(*tasks, queries, 1, 16, 16, dtype=D, generator=draw)
    places = torch.zeros(*tasks, 13, dtype=torch.int64)
    return Episode(support, places[..., :6], query, places[..., :queries], places[..., :3])


def test_each_mode_is_what_it_says():
    f, one = net(), episode()
    support, query = one.support, one.query
    together = f(torch.cat([support, query]))
    alone = torch.cat([f(torch.cat([support, image[None]]))[-1:] for image in query])
    by_support = f(torch.cat([support, query]), statistics="support", support=6)[6:]
    estimate_running(f, f, [torch.cat([support, query])])
    expected = {
        "joint": (together[:6], together[6:]),
        "transductive": (f(support), f(query)),
        "support": (f(support), by_support),
        "running": (together[:6], together[6:]),
        "one_query": (f(support), alone),
    }
    for mode in MODES:
        torch.testing.assert_close(embed(f, one, mode), expected[mode], rtol=1e-8, atol=1e-9)
    distinct = [expected[mode][1] for mode in ("joint", "transductive", "support", "one_query")]
    for i, a in enumerate(distinct):
        assert not any(torch.allclose(a, b, rtol=1e-2) for b in distinct[:i])


@pytest.mark.parametrize(
    ("mode", "independent"), list(zip(MODES, (False, False, True, True, True), strict=True))
)
def test_whether_a_querys_features_depend_on_other_queries(mode, independent):
    f, many = net(), episode()
    estimate_running(f, f, [many.support])
    few = many._replace(query=many.query[:3])
    same = torch.allclose(embed(f, many, mode)[1][:3], embed(f, few, mode)[1], rtol=1e-7)
    assert same is independent


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["vmap", "threads"])
def test_every_mode_runs_over_tasks_with_exact_gradients(mode, how):
    module, tasks = net(), episode((3,))
    estimate_running(module, module, [tasks.query[0]])
    f, params = stateless(module), dict(module.named_parameters())

    def task(params, one):
        support, query = embed(lambda x, **kw: f(params, x, **kw), one, mode)
        return support.square().mean() + query.tanh().mean()

    def gradients(how):
        losses = over_tasks(task, how=how)(params, tasks)
        return losses, torch.autograd.grad(losses.sum(), list(params.values()))

    torch.testing.assert_close(gradients(how), gradients("loop"), rtol=1e-8, atol=1e-9)


def test_many_queries_are_taken_in_parts():
    f, one = net(), episode(queries=60)._replace(query=torch.randn(60, 1, 16, 16, dtype=D))
    alone = f(torch.cat([one.support, one.query[57:58]]))[-1]
    torch.testing.assert_close(embed(f, one, "one_query")[1][57], alone, rtol=1e-8, atol=1e-9)


def test_options_are_handed_on():
    f, one = net(), episode()
    film = [None, (torch.full((4,), 2.0, dtype=D), torch.ones(4, dtype=D)), None, None]
    together = f(torch.cat([one.support, one.query]), film=film)
    torch.testing.assert_close(embed(f, one, "joint", film=film)[1], together[6:], rtol=1e-9, atol=1e-10)


def test_averages_are_those_of_the_batches():
    module, batches = net(), [episode(seed=seed) for seed in range(3)]
    estimate_running(module, lambda one: embed(module, one, "joint"), iter(batches))
    first = next(each for each in module.modules() if isinstance(each, BatchNorm))
    images = [torch.cat([one.support, one.query]) for one in batches]
    maps = [torch.conv2d(each, module.blocks[0].conv.weight, padding=1) for each in images]
    mean = torch.stack([each.mean((0, 2, 3)) for each in maps]).mean(0)
    variance = torch.stack([each.var((0, 2, 3), correction=0) for each in maps]).mean(0)
    torch.testing.assert_close(first.running_mean, mean, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(first.running_var, variance, rtol=1e-9, atol=1e-10)
    assert not first.running_mean.requires_grad


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="did you mean 'running'"):
        embed(net(), episode(), "runing")
    with pytest.raises(ValueError, match="no averages yet"):
        embed(net(), episode(), "running")


@pytest.mark.parametrize("statistics", ["joint", "transductive", "support", "running", "one_query"])
def test_the_query_by_itself_is_as_with_the_support(statistics):
    module, one = net(), episode()
    estimate_running(module, lambda each: embed(module, each, "joint"), [episode(seed=3)])
    expected = embed(module, one, statistics)[1]
    torch.testing.assert_close(embed_query(module, one, statistics), expected, rtol=1e-9, atol=1e-11)
    before_any_query = module(one.support, statistics="running" if statistics == "running" else "batch")
    assert torch.equal(embed_support(module, one, statistics), before_any_query)
