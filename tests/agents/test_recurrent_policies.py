"""Policies with memory: the network against torch's own LSTM, chunks against whole trajectories."""

import numpy as np
import pytest
import torch
from torch import nn

from metarl.agents.configs import InnerConfig, PolicyConfig
from metarl.agents.policies import GaussianPolicy, ObservationNormalizer
from metarl.agents.policy_adaptation import PolicyAdaptation, policy_params
from metarl.agents.recurrent_policies import RecurrentNetwork, fold, unfold
from metarl.agents.rollouts import Trajectories, make_world, rollout
from tests.agents.recurrent import lstm_policy

GOALS = [{"goal": [0.1, 0.2]}, {"goal": [-0.3, 0.4]}]
POINT = "metarl/PointNavigation-v0"


def torch_lstm(network):
    """torch's LSTM with a network's weights."""
    cell = network.cell
    theirs = nn.LSTM(cell.weight_ih.shape[1], cell.hidden_size).to(cell.weight_ih.dtype)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(cell.weight_ih)
        theirs.weight_hh_l0.copy_(cell.weight_hh)
        theirs.bias_ih_l0.copy_(cell.bias)
        theirs.bias_hh_l0.zero_()
    return theirs


def test_the_network_is_torchs_lstm_between_two_layers():
    torch.manual_seed(0)
    network = RecurrentNetwork(3, (6, 5), 2, unroll=4).double()
    assert network.cell.bias.tolist() == [0] * 5 + [1] * 5 + [0] * 10
    x_HBD, memory_BM = torch.randn(7, 4, 3).double(), torch.randn(4, 10).double()
    outputs, after = network(x_HBD, memory_BM)
    theirs = torch_lstm(network)
    state = tuple(part.contiguous().unsqueeze(0) for part in memory_BM.split(5, dim=-1))
    hidden, last = theirs(torch.relu(x_HBD @ network.embedding.weight.T + network.embedding.bias), state)
    torch.testing.assert_close(outputs, hidden @ network.head.weight.T + network.head.bias)
    torch.testing.assert_close(after[-1], torch.cat(last, -1).squeeze(0))
    step_by_step = []
    for x_BD in x_HBD:
        output, memory_BM = network(x_BD, memory_BM)
        step_by_step.append(output)
    torch.testing.assert_close(torch.stack(step_by_step), outputs)


def test_chunks_by_hand():
    x = torch.arange(10.0).reshape(2, 5, 1)
    chunks = fold(x, 3, 2)
    assert chunks[..., 0].T.tolist() == [[0, 1], [2, 3], [4, 0], [5, 6], [7, 8], [9, 0]]
    assert torch.equal(unfold(chunks, 2, 5), x)
    assert torch.equal(fold(x, 1, 100), x.transpose(0, 1))
    with pytest.raises(ValueError, match="too few"):
        fold(x, 2, 2)


def sampled(config, world=POINT, tasks=GOALS, trajectories=3, horizon=None, memory=None, seed=0):
    env = make_world(world, len(tasks) * trajectories, horizon)
    D, A = env.single_observation_space.shape[0], env.single_action_space.shape[0]
    torch.manual_seed(0)
    policy = GaussianPolicy(D, A, config)
    names = dict(policy.named_parameters())
    params = {n: p.detach() + 0.1 * torch.randn(len(tasks), *p.shape) for n, p in names.items()}
    rngs = np.random.default_rng(seed).spawn(len(tasks))
    found = rollout(env, policy, params, ObservationNormalizer(D), tasks, rngs, memory=memory)
    adaptation = PolicyAdaptation(policy, InnerConfig())
    return adaptation, {f"policy.{name}": value for name, value in params.items()}, found


def judged(adaptation, params, found):
    return torch.vmap(adaptation.distribution)(params, found.seen())


def assert_same_where_it_counts(got, found):
    for value, expected in zip(got, (found.mean, found.log_std), strict=True):
        mask = found.mask.unsqueeze(-1)
        torch.testing.assert_close(value * mask, expected * mask, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("unroll", [1, 4, 5, 100])
@pytest.mark.parametrize("changes", [{}, {"spread": "network"}, {"context_size": 2}], ids=str)
def test_chunks_say_what_was_said_step_by_step(unroll, changes):
    adaptation, params, found = sampled(lstm_policy(unroll=unroll, **changes), horizon=10)
    assert found.memory.shape == (2, 3, -(-10 // unroll), 10)
    assert_same_where_it_counts(judged(adaptation, params, found), found)
    moved = params | {"policy.network.cell.weight_hh": params["policy.network.cell.weight_hh"] + 0.3}
    assert (judged(adaptation, moved, found)[0] - found.mean).abs().max() > 1e-3


def test_chunks_of_episodes_that_end_early():
    env = make_world("metarl/HopperParams-v0", 1)
    tasks = env.sample_tasks(2, rng=np.random.default_rng(0))
    adaptation, params, found = sampled(lstm_policy(), "metarl/HopperParams-v0", tasks, 4)
    lengths = found.mask.sum(-1).int()
    assert lengths.min() < lengths.max()
    assert (lengths % 4).any()
    assert_same_where_it_counts(judged(adaptation, params, found), found)

    network = adaptation.policy.network
    for t, b in ((0, 0), (1, 3)):  # the memory at an episode's end is that after its own last step
        own = {n.removeprefix("network."): p[t] for n, p in policy_params(params).items() if "network" in n}
        x = found.obs[t, b, : lengths[t, b]].unsqueeze(1)
        after = torch.func.functional_call(network, own, (x, network.initial_memory(1)))[1]
        torch.testing.assert_close(found.last_memory[t, b], after[-1, 0], rtol=1e-4, atol=1e-6)


def test_trajectories_of_unequal_length_side_by_side_keep_their_memories():
    long, short = (sampled(lstm_policy(), horizon=horizon, seed=horizon) for horizon in (11, 6))
    adaptation, params, _ = long
    joined = Trajectories.side_by_side([short[2], long[2]])
    assert joined.memory.shape == (2, 6, 3, 10)
    assert_same_where_it_counts(judged(adaptation, params, joined), joined)
    assert torch.equal(joined.tasks(torch.tensor([1])).memory, joined.task(1).memory)
    one = {name: value[1:] for name, value in params.items()}
    assert_same_where_it_counts(judged(adaptation, one, joined.task(1)), joined.task(1))


def test_a_memory_from_before_is_where_a_rollout_goes_on():
    memory = torch.randn(2, 3, 10)
    adaptation, params, found = sampled(lstm_policy(), horizon=6, memory=memory)
    assert torch.equal(found.memory[:, :, 0], memory)
    assert_same_where_it_counts(judged(adaptation, params, found), found)
    assert not torch.equal(found.actions, sampled(lstm_policy(), horizon=6)[2].actions)


def test_a_perceptron_has_no_memory():
    found = sampled(PolicyConfig(hidden=(4,)), horizon=3)[2]
    assert found.memory is None
    assert found.last_memory is None
    assert found.task(0).memory is None
    assert Trajectories.side_by_side([found, found]).memory is None
