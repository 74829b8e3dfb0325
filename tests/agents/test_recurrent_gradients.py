"""Gradients of policies with memory: against torch's own cell, unrolled by hand, and finite differences."""

import numpy as np
import pytest
import torch
from torch import nn

from metarl.agents import preset
from metarl.agents.configs import InnerConfig, MetaPolicyGradient, SamplingConfig
from metarl.agents.meta_parameters import MetaParameters
from metarl.agents.policies import log_probability
from metarl.agents.policy_adaptation import PolicyAdaptation, for_each_task, policy_params
from metarl.agents.rollouts import Trajectories
from metarl.gradients import flat
from metarl.tasks import over_tasks
from tests.agents.recurrent import lstm_policy, training


def doubled(tree):
    return torch.utils._pytree.tree_map(lambda x: x.double(), tree)


def tiny(unroll, H=7, B=3, D=3, A=2):
    """A double-precision policy and value network, and trajectories that another policy sampled."""
    config = MetaPolicyGradient(
        policy=lstm_policy(unroll=unroll),
        sampling=SamplingConfig(baseline="network", discount=0.9),
        inner=InnerConfig(estimator="dice", lr=0.1, value_weight=0.5),
        outer=preset("promp").outer,
    )
    torch.manual_seed(3)
    module = MetaParameters(D, A, H, config).double()
    adaptation = PolicyAdaptation(module.policy, config.inner, module.value)
    params = {name: value.detach() for name, value in module.named_parameters()}
    obs = torch.randn(1, B, H, D).double()
    mask = torch.ones(1, B, H).double()
    mask[0, 1, 5:] = 0
    nothing = module.policy.network.initial_memory(B)
    own = {n.removeprefix("network."): p for n, p in policy_params(params).items() if "network" in n}
    outputs, after = torch.func.functional_call(module.policy.network, own, (obs[0].transpose(0, 1), nothing))
    before = torch.cat([nothing[None], after[:-1]])
    mean = outputs.transpose(0, 1)[None]
    log_std = params["policy.log_std"].expand_as(mean)
    found = Trajectories(
        raw_obs=obs,
        obs=obs,
        actions=mean + 0.5 * torch.randn(1, B, H, A).double(),
        rewards=torch.randn(1, B, H).double(),
        mask=mask,
        mean=mean,
        log_std=log_std,
        memory=before[::unroll].transpose(0, 1)[None],
    )
    stacked = {name: value[None] for name, value in params.items()}
    valued = {n: v[0] for n, v in adaptation.value_tasks(stacked, found, config.sampling).items()}
    return module, adaptation, params, valued, found


def through_time(network, x_BHD, cut):
    """Outputs of a network over whole trajectories by torch's LSTM; the gradient stops at every `cut` steps."""
    leaves = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}
    cell = nn.LSTMCell(network.cell.weight_ih.shape[1], network.cell.hidden_size).double()
    weights = {
        "weight_ih": leaves["cell.weight_ih"],
        "weight_hh": leaves["cell.weight_hh"],
        "bias_ih": leaves["cell.bias"],
        "bias_hh": torch.zeros_like(leaves["cell.bias"]),
    }
    state = tuple(torch.zeros(len(x_BHD), network.cell.hidden_size).double() for _ in range(2))
    outputs = []
    for h, x in enumerate(x_BHD.unbind(1)):
        if h % cut == 0:
            state = tuple(part.detach() for part in state)
        embedded = torch.relu(x @ leaves["embedding.weight"].T + leaves["embedding.bias"])
        state = torch.func.functional_call(cell, weights, (embedded, state))
        outputs.append(state[0] @ leaves["head.weight"].T + leaves["head.bias"])
    return leaves, torch.stack(outputs, dim=1)


@pytest.mark.parametrize("unroll", [3, 7, 50])
def test_an_inner_step_is_back_propagation_through_time_by_torchs_cell(unroll):
    module, adaptation, params, valued, _ = tiny(unroll)
    stepped = adaptation.step(params, valued, 0)

    leaves, mean = through_time(module.policy.network, valued["obs"], unroll)
    log_probs = log_probability(valued["actions"], mean, valued["log_std"])
    w = (log_probs - valued["log_probs"]) * valued["mask"]
    value_leaves, values = through_time(module.value.network, module.value.inputs(valued["obs"]), unroll)
    errors = (values.squeeze(-1) - valued["returns"] / module.value.unit).square() * valued["mask"]
    # At the sampling parameters DiCE's gradient is that of the summed scores times advantage.
    loss = (-w * valued["advantages"] * valued["mask"] + 0.5 * errors).sum() / valued["mask"].sum()
    loss.backward()
    for prefix, each in (("policy.network.", leaves), ("value.network.", value_leaves)):
        for name, leaf in each.items():
            expected = leaf.detach() - 0.1 * leaf.grad
            torch.testing.assert_close(stepped[prefix + name], expected, rtol=1e-9, atol=1e-12)


def test_advantages_come_of_values_that_remember_the_whole_episode():
    module, _, _, valued, found = tiny(unroll=3)
    _, values = through_time(module.value.network, module.value.inputs(valued["obs"]), cut=100)
    values = values.detach().squeeze(-1) * module.value.unit * valued["mask"]
    following = torch.cat([values[:, 1:], torch.zeros(3, 1)], dim=1)
    deltas = (found.rewards[0] + 0.9 * following - values) * valued["mask"]
    advantages, total = torch.zeros_like(deltas), 0.0
    for h in reversed(range(7)):
        total = deltas[:, h] + 0.9 * 0.95 * total
        advantages[:, h] = total
    counted = advantages[valued["mask"] > 0]
    expected = (advantages - counted.mean()) / counted.std(correction=0) * valued["mask"]
    torch.testing.assert_close(valued["advantages"], expected, rtol=1e-6, atol=1e-7)


@pytest.fixture(scope="module")
def collected():
    algorithm = training()
    data = doubled(algorithm.collect(np.random.default_rng(0)).data)
    algorithm.module.double()
    assert {"memory", "value_memory"} <= data["query"].keys()
    return algorithm, data


def test_the_meta_gradient_agrees_with_finite_differences(collected):
    algorithm, data = collected
    params = {name: value.detach() for name, value in algorithm.module.named_parameters()}

    def loss(at):
        return torch.vmap(algorithm._task_loss, (None, 0))(at, data)[0].mean()

    grads = torch.func.grad(loss)(params)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        way = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in params.items()}
        size = sum(value.square().sum() for value in way.values()).sqrt()
        way = {name: value / size for name, value in way.items()}
        ahead, behind = (loss({n: p + e * way[n] for n, p in params.items()}) for e in (1e-5, -1e-5))
        along = sum((grads[name] * way[name]).sum() for name in params)
        torch.testing.assert_close(along, (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-8)


def test_vmap_loop_and_threads_give_the_same_meta_gradient(collected):
    algorithm, data = collected
    params = dict(algorithm.module.named_parameters())
    trained = [name for name, value in params.items() if value.requires_grad]
    grads = []
    for how in ("vmap", "loop", "threads"):
        losses, _ = over_tasks(algorithm._task_loss, how=how)(params, data)
        grads.append(torch.autograd.grad(losses.mean(), [params[name] for name in trained]))
    for other in grads[1:]:
        torch.testing.assert_close(other, grads[0], rtol=1e-9, atol=1e-12)
    assert all(dict(zip(trained, grads[0], strict=True))[n].abs().max() > 0 for n in trained if "cell" in n)


def test_tasks_adapt_one_by_one_as_they_do_under_vmap(collected):
    algorithm, data = collected
    params = for_each_task(dict(algorithm.module.named_parameters()), 2)
    valued = data["support"][0]
    one_by_one = algorithm.adaptation.step_tasks(params, valued, 0)
    batched = torch.vmap(lambda p, v: algorithm.adaptation.step(p, v, 0))(params, valued)
    assert one_by_one.keys() == batched.keys()
    for name, value in batched.items():
        torch.testing.assert_close(one_by_one[name], value, rtol=1e-9, atol=1e-12)
        assert not one_by_one[name].requires_grad


def test_the_trust_regions_curvature_agrees_with_finite_differences():
    algorithm = training("maml")
    data = doubled(algorithm.collect(np.random.default_rng(0)).data)
    algorithm.module.double()
    parameters = list(algorithm.module.parameters())

    def slope(**options):
        return flat(torch.autograd.grad(algorithm.loss(data)[1]["kl"], parameters, **options))

    way = torch.randn(sum(p.numel() for p in parameters), dtype=torch.float64)
    way /= way.norm()
    product = flat(torch.autograd.grad(slope(create_graph=True) @ way, parameters))
    start = [p.detach().clone() for p in parameters]
    slopes = []
    for epsilon in (1e-5, -1e-5):
        at = 0
        for p, origin in zip(parameters, start, strict=True):
            p.data = origin + epsilon * way[at : at + p.numel()].reshape(p.shape)
            at += p.numel()
        slopes.append(slope())
    torch.testing.assert_close(product, (slopes[0] - slopes[1]) / 2e-5, rtol=1e-4, atol=1e-7)
