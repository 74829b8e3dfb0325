import gc
import warnings
from contextlib import nullcontext

import pytest
import torch

from metarl import cuda_graphs
from metarl.cuda_graphs import MOST_KINDS, GraphedLoss
from metarl.tasks import over_tasks

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def adapted_loss(params, batch):
    """Mean over tasks of the loss after one inner step, exact: sums of cubes, so that derivatives depend on w."""

    def task(params, x):
        inner = lambda w: ((w * x).sum() - 1) ** 3  # noqa: E731
        moved = params["w"] - 0.1 * torch.func.grad(inner)(params["w"])
        return ((moved * x).sum() + 1) ** 3, x.sum()

    losses, sums = over_tasks(task)(params, batch["x"])
    return losses.mean() * batch["scale"], {"sum": sums.mean(), "stage": 1.0}


def parameters(device):
    return {"w": torch.linspace(-0.5, 0.5, 4, dtype=torch.float64, device=device).requires_grad_()}


def on_cpu(params):
    return {name: each.detach().cpu().requires_grad_() for name, each in params.items()}


def batch(number, device, rows=3):
    draw = torch.Generator().manual_seed(number)
    x = torch.randn(rows, 4, dtype=torch.float64, generator=draw).to(device)
    return {"x": x, "scale": 2.0}


def computed(loss, params, data):
    value, metrics = loss(params, data)
    (gradient,) = torch.autograd.grad(value, [params["w"]])
    return value.item(), gradient.cpu(), {name: float(each) for name, each in metrics.items()}


def test_a_batch_on_the_cpu_is_computed_as_ever():
    calls = []

    def loss(params, data):
        calls.append(1)
        return adapted_loss(params, data)

    graphed, params = GraphedLoss(loss), parameters("cpu")
    for number in range(3):
        found = computed(graphed, params, batch(number, "cpu"))
        expected = computed(adapted_loss, params, batch(number, "cpu"))
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert len(calls) == 3


class StandIn:
    """A stream; or a graph whose replay computes anew, as a GPU would, what was recorded."""

    def wait_stream(self, other):
        pass

    def replay(self):
        (graph,) = self.of._graphs.values()
        graph._results = graph._compute(self.params)


@pytest.fixture
def without_gpu(monkeypatch):
    for name in ("Stream", "current_stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, StandIn)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda *args, **options: nullcontext())
    monkeypatch.setattr(cuda_graphs, "_kind", lambda params, data: tuple(data["x"].shape))


def test_what_is_held_follows_batches_and_parameters(without_gpu):
    """The way through a recording, with stand-ins for the GPU's part, so that it is walked everywhere."""
    calls = []

    def loss(params, data):
        calls.append(1)
        return adapted_loss(params, data)

    graphed, params = GraphedLoss(loss), parameters("cpu")
    StandIn.of, StandIn.params = graphed, params
    for number in range(5):
        found = computed(graphed, params, batch(number, "cpu"))
        expected = computed(adapted_loss, params, batch(number, "cpu"))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
        with torch.no_grad():
            params["w"] += 0.1 * torch.sign(found[1])
    assert len(calls) == 1 + 1 + 4, "to warm up, to record, and in every replay of a stand-in"


def test_where_nothing_is_trained_nothing_is_recorded(without_gpu):
    graphed = GraphedLoss(adapted_loss)
    frozen = {name: each.detach() for name, each in parameters("cpu").items()}
    for number in range(3):
        data = batch(number, "cpu")
        assert graphed(frozen, data)[0] == adapted_loss(frozen, data)[0]


def test_what_cannot_be_recorded_is_computed_as_ever(without_gpu, monkeypatch):
    def refused(*args, **options):
        raise RuntimeError("not allowed while a stream is capturing\nand more")

    monkeypatch.setattr(torch.cuda, "graph", refused)
    graphed, params = GraphedLoss(adapted_loss), parameters("cpu")
    computed(graphed, params, batch(0, "cpu"))
    with pytest.warns(
        UserWarning, match="without a CUDA graph, more slowly: not allowed while a stream is capturing$"
    ):
        found = computed(graphed, params, batch(1, "cpu"))
    torch.testing.assert_close(found, computed(adapted_loss, params, batch(1, "cpu")), rtol=1e-12, atol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        computed(graphed, params, batch(2, "cpu"))


def test_no_garbage_is_collected_in_a_recording(without_gpu):
    collecting = []

    def loss(params, data):
        collecting.append(gc.isenabled())
        return adapted_loss(params, data)

    graphed, params = GraphedLoss(loss), parameters("cpu")
    StandIn.of, StandIn.params = graphed, params
    for number in range(3):
        computed(graphed, params, batch(number, "cpu"))
    assert collecting == [True, False, True, True], "to warm up, to record, and in replays of a stand-in"
    assert gc.isenabled()


@needs_gpu
def test_replays_give_loss_gradient_and_metrics_of_their_own_batch_and_parameters():
    calls = []

    def loss(params, data):
        calls.append(1)
        return adapted_loss(params, data)

    graphed, params = GraphedLoss(loss), parameters("cuda")
    for number in range(6):
        found = computed(graphed, params, batch(number, "cuda"))
        expected = computed(adapted_loss, on_cpu(params), batch(number, "cpu"))
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        with torch.no_grad():
            params["w"] += 0.1 * torch.sign(found[1]).cuda()
    assert len(calls) == 2, "once to warm up, once to record"


@needs_gpu
def test_every_kind_of_batch_has_a_recording_of_its_own_until_there_are_too_many():
    calls = []

    def loss(params, data):
        calls.append(len(data["x"]))
        return adapted_loss(params, data)

    graphed, params = GraphedLoss(loss), parameters("cuda")
    kinds = range(1, MOST_KINDS + 3)
    for number in range(4):
        for rows in kinds:
            found = computed(graphed, params, batch(number, "cuda", rows))
            torch.testing.assert_close(
                found[0], computed(adapted_loss, params, batch(number, "cuda", rows))[0], rtol=1e-12, atol=0
            )
    assert [calls.count(rows) for rows in kinds] == [2] * MOST_KINDS + [4, 4]


@needs_gpu
def test_a_loss_that_waits_for_the_gpu_is_computed_as_ever_with_a_warning():
    def loss(params, data):
        value, metrics = adapted_loss(params, data)
        return value * (1 + (value.item() > 0)), metrics

    graphed, params = GraphedLoss(loss), parameters("cuda")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number in range(4):
            found = computed(graphed, params, batch(number, "cuda"))
            expected = computed(loss, params, batch(number, "cuda"))
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert ["without a CUDA graph" in str(each.message) for each in told].count(True) == 1
