import threading
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metarl.adaptation import adapt
from metarl.nn import MLP, ConvBlock, stateless
from metarl.tasks import choose, over_tasks
from metarl.update_rules import SGD, LearnedSGD

D = torch.float64
WAYS = [
    {"how": "loop"},
    {"how": "vmap"},
    {"how": "vmap", "chunk": 2},
    {"how": "threads"},
    {"how": "threads", "chunk": 1},
    {},
    {"chunk": 3},
]
RULE = LearnedSGD(lr=0.2)


class Episode(NamedTuple):
    support: tuple[Tensor, Tensor]
    query: tuple[Tensor, Tensor]


def episodes(number, *shape):
    draw = torch.Generator().manual_seed(0)

    def part():
        x = torch.randn(number, 4, *shape, generator=draw, dtype=D)
        return x, torch.randint(0, 3, (number, 4), generator=draw)

    return Episode(part(), part())


def conv_net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        ConvBlock(1, 3), ConvBlock(3, 3), torch.nn.Flatten(1), torch.nn.Linear(12, 3)
    ).to(D)


def make_task(f):
    def loss(params, data):
        return F.cross_entropy(f(params, data[0]), data[1])

    def task(params, episode):
        fast = adapt(params, loss, episode.support, rule=RULE, steps=2)
        scores = f(fast, episode.query[0])
        return F.cross_entropy(scores, episode.query[1]), {"scores": scores}

    return task


@pytest.fixture
def threads_restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def two_threads(threads_restored):
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_way_gives_the_gradient_of_a_plain_loop(way, kind, threads_restored):
    net = conv_net() if kind == "conv" else MLP((5, 8, 3)).to(D)
    data = episodes(5, *((1, 8, 8) if kind == "conv" else (5,)))
    params = dict(net.named_parameters())
    params |= RULE.init(params, 2)
    task = make_task(stateless(net))
    weights = torch.arange(1.0, 6.0, dtype=D)

    torch.set_num_threads(2 if way.get("how", "threads") == "threads" else 1)
    losses, aux = over_tasks(task, **way)(params, data)
    torch.set_num_threads(1)
    got = torch.autograd.grad((losses * weights).sum(), list(params.values()))

    def one(t):
        return Episode(*(tuple(v[t] for v in part) for part in data))

    plain = [task(params, one(t)) for t in range(5)]
    expected_losses = torch.stack([loss for loss, _ in plain])
    expected = torch.autograd.grad((expected_losses * weights).sum(), list(params.values()))
    scale = float(max(grad.abs().max() for grad in expected))
    torch.testing.assert_close(losses, expected_losses, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        aux["scores"], torch.stack([a["scores"] for _, a in plain]), rtol=0, atol=1e-11
    )
    assert not aux["scores"].requires_grad
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * scale)
    with torch.no_grad():
        plain_forward, _ = over_tasks(task, **way)(params, data)
    torch.testing.assert_close(plain_forward, losses.detach(), rtol=1e-12, atol=1e-12)


def test_the_snippet_of_the_readme():
    from metarl import SGD, adapt, over_tasks

    net = MLP((5, 3)).to(D)
    data, params = episodes(4, 5), dict(net.named_parameters())

    def loss(params, data):
        return F.cross_entropy(functional_call(net, params, (data[0],)), data[1])

    def task(params, episode):
        fast = adapt(params, loss, episode.support, rule=SGD(lr=0.4), steps=5)
        return loss(fast, episode.query)

    meta_loss = over_tasks(task)(params, data).mean()
    meta_loss.backward()
    assert all(value.grad is not None and value.grad.any() for value in params.values())


class Alive:
    """Counts tensors saved for backward that are still alive, while it is entered."""

    def __init__(self):
        self.now, self.peak, self.lock = 0, 0, threading.Lock()

    def pack(self, tensor):
        alive = self

        class Held:
            def __init__(self):
                self.tensor = tensor
                with alive.lock:
                    alive.now += 1
                    alive.peak = max(alive.peak, alive.now)

            def __del__(self):
                with alive.lock:
                    alive.now -= 1

        return Held()

    def hooks(self):
        return torch.autograd.graph.saved_tensors_hooks(self.pack, lambda held: held.tensor)


def test_memory_is_bounded_by_one_task_in_a_loop():
    net = MLP((5, 8, 3)).to(D)
    task, params = make_task(stateless(net)), {**dict(net.named_parameters())}
    params |= RULE.init(params, 2)

    def peak(number):
        alive = Alive()
        with alive.hooks():
            losses, _ = over_tasks(task, how="loop")(params, episodes(number, 5))
        assert alive.now == 0  # every task's graph is gone before the caller's backward
        losses.sum().backward()
        return alive.peak

    assert peak(8) == peak(1) > 0


def test_memory_of_vmap_is_bounded_by_the_chunk():
    rows = []
    weight = torch.randn(3, dtype=D, requires_grad=True)

    def of(chunk):
        seen = []

        class Probe(torch.autograd.Function):
            @staticmethod
            def forward(x):
                return x.clone()

            @staticmethod
            def setup_context(ctx, inputs, output):
                pass

            @staticmethod
            def backward(ctx, grad):
                return grad

            @staticmethod
            def vmap(info, in_dims, x):
                seen.append(info.batch_size)
                return Probe.apply(x), in_dims[0]

        over_tasks(lambda p, x: Probe.apply(p["w"] * x).sum(), how="vmap", chunk=chunk)(
            {"w": weight}, torch.ones(7, 3, dtype=D)
        )
        rows.append(seen)
        return set(seen)

    assert of(None) == {7}
    assert of(3) == {3, 1}


def test_threads_work_side_by_side_and_torch_is_left_as_it_was(two_threads):
    meet = threading.Barrier(2, timeout=20)
    names, inner = set(), set()

    def task(params, x):
        names.add(threading.current_thread().name)
        inner.add(torch.get_num_threads())
        if not x.isnan().any():
            meet.wait()  # passes only if two tasks are under way at once
        return (params["w"] * x.nan_to_num()).sum()

    data = torch.ones(5, 2)
    data[0] = torch.nan  # the first task of a function that is new runs alone
    params = {"w": torch.ones(2, requires_grad=True)}
    losses = over_tasks(task, how="threads")(params, data)
    assert losses.tolist() == [0, 2, 2, 2, 2]
    assert len(names) == 3
    assert inner == {1}


@pytest.mark.parametrize("how", ["loop", "threads"])
def test_an_exception_in_a_task_reaches_the_caller(how, two_threads):
    def task(params, x):
        if x.item() == 3:
            raise RuntimeError("task three")
        return params["w"] * x

    with pytest.raises(RuntimeError, match="task three"):
        over_tasks(task, how=how)({"w": torch.ones((), requires_grad=True)}, torch.arange(6.0))


def test_threads_refuse_a_shared_module_and_auto_loops(two_threads):
    net = conv_net()
    data, own = episodes(3, 1, 8, 8), dict(net.named_parameters())

    def loss(params, data):
        return F.cross_entropy(functional_call(net, params, (data[0],)), data[1])

    def plain(params, episode):
        return loss(adapt(params, loss, episode.support, rule=SGD()), episode.query)

    with pytest.raises(ValueError, match="stateless"):
        over_tasks(plain, how="threads")(own, data)
    auto = torch.autograd.grad(over_tasks(plain)(own, data).sum(), list(own.values()))
    loop = torch.autograd.grad(over_tasks(plain, how="loop")(own, data).sum(), list(own.values()))
    for a, b in zip(auto, loop, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert all(value is own[name] for name, value in net.named_parameters())


def test_auto_chooses_by_network_and_size(threads_restored):
    torch.set_num_threads(2)
    small, large = torch.ones(3, 10, 4), torch.ones(3, 20_000, 4)
    dense, conv = {"w": torch.ones(16, 4)}, {"w": torch.ones(2, 2, 3, 3)}
    assert choose(dense, small) == "vmap"
    assert choose(dense, torch.ones(3, 10_000, 4)) == "vmap"  # 10,000 rows times 64 weights
    assert choose(dense, large) == "threads"
    assert choose(conv, small) == "threads"
    assert choose({**dense, "rule.lr.w": torch.ones(2, 16, 4)}, small) == "vmap"
    assert choose({"w": torch.ones(2, 2, 3, 3, device="meta")}, small) == "vmap"
    torch.set_num_threads(1)
    assert choose(conv, small) == choose(dense, large) == "loop"


def test_a_transform_outside_differentiates_through():
    params = {"w": torch.tensor(2.0, dtype=D)}
    data = torch.tensor([1.0, 3.0], dtype=D)
    for how in ("loop", "vmap", "threads", "auto"):
        f = over_tasks(lambda p, x: x * p["w"] ** 3, how=how)
        second = torch.func.hessian(lambda p, f=f: f(p, data).sum())(params)
        assert second["w"]["w"].item() == pytest.approx(6 * 2 * 4)


def test_a_second_derivative_is_refused_with_a_word():
    w = torch.ones((), requires_grad=True)
    losses = over_tasks(lambda p, x: p["w"] ** 2 * x)({"w": w}, torch.ones(2))
    with pytest.raises(ValueError, match="first derivative only"):
        torch.autograd.grad(losses.sum(), w, create_graph=True)


def test_leaves_that_are_no_tensors_are_the_same_for_all_and_unused_params_get_zero():
    params = {"w": torch.ones((), requires_grad=True), "v": torch.ones(2, requires_grad=True)}
    for how in ("loop", "vmap", "threads"):
        losses = over_tasks(lambda p, task: p["w"] * task["x"] * task["n"], how=how)(
            params, {"x": torch.arange(3.0), "n": 5}
        )
        assert losses.tolist() == [0, 5, 10]
        grads = torch.autograd.grad(losses.sum(), [params["w"], params["v"]])
        assert grads[0].item() == 15
        assert grads[1].tolist() == [0, 0]


W = {"w": torch.ones((), requires_grad=True)}


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: over_tasks(len, how="vmpa"), "how must be"),
        (lambda: over_tasks(len, chunk=0), "chunk must be"),
        (lambda: over_tasks(lambda p, x: p["w"])(W, (torch.ones(2), torch.ones(3))), r"\(2,\), \(3,\)"),
        (lambda: over_tasks(lambda p, x: p["w"])(W, torch.ones(())), "leading axis"),
        (lambda: over_tasks(lambda p, x: p["w"])(W, torch.ones(0, 2)), "no tasks"),
        (lambda: over_tasks(lambda p, x: p["w"])(W, {"x": 3}), "no tensor"),
        (lambda: over_tasks(lambda p, x: x)(W, torch.ones(2, 3)), "scalar loss"),
        (lambda: over_tasks(lambda p, x: x, how="loop")(W, torch.ones(2, 3)), "scalar loss"),
        (lambda: over_tasks(lambda p, x: (x, 1.0))(W, torch.ones(2)), "float"),
        (lambda: over_tasks(lambda p, x: p["w"] * x)(W, torch.ones(2, requires_grad=True)), "only params"),
    ],
)
def test_mistakes_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
