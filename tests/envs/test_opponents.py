"""Opponents as arrays: the same numbers as the networks that they come from."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from metarl import checkpoints
from metarl.envs.crew import Crew
from metarl.envs.opponents import OpponentPolicy, act, load_policy
from metarl.nn import MLP, LSTMCell

D, A, UNITS = 5, 3, 4


def arrays(kind: str, seed: int = 0, units: int = UNITS) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    found = {
        "obs_mean": normal(D),
        "obs_std": np.exp(normal(D)),
        "obs_clip": np.array(2.0),
        "log_std": normal(A),
    }
    if kind == "mlp":
        shapes = {"layers.0": (units, D), "layers.1": (units, units), "layers.2": (A, units)}
    else:
        first = {
            "lstm": {"embedding": (units, D)},
            "layers and lstm": {"layers.0": (units, D), "layers.1": (units, units)},
            "lstm alone": {},
        }[kind]
        shapes = first | {"head": (A, units)}
        inputs = units if first else D
        found["cell.weight_ih"], found["cell.weight_hh"] = normal(4 * units, inputs), normal(4 * units, units)
        found["cell.bias"] = normal(4 * units)
    for name, shape in shapes.items():
        found |= {f"{name}.weight": normal(*shape), f"{name}.bias": normal(shape[0])}
    return found


def one_row(policy: OpponentPolicy) -> dict[str, np.ndarray]:
    return {name: each[None] for name, each in policy.arrays.items()}


def test_a_perceptron_acts_as_torchs():
    policy = OpponentPolicy(arrays("mlp"))
    obs = np.random.default_rng(1).standard_normal((1, D)) * 4
    noise = np.array([[0.5, -1.0, 0.0]], np.float32)
    action, memory = act(one_row(policy), obs, np.zeros((1, 0), np.float32), noise)
    network = MLP((D, UNITS, UNITS, A))
    network.load_state_dict({n: torch.tensor(x) for n, x in policy.arrays.items() if n.startswith("layers")})
    x = torch.tensor((obs - policy.arrays["obs_mean"]) / policy.arrays["obs_std"]).clamp(-2, 2).float()
    expected = network(x).detach().numpy() + np.exp(policy.arrays["log_std"]) * noise
    np.testing.assert_allclose(action, expected.clip(-1, 1), atol=1e-6)
    assert memory.shape == (1, 0)


@pytest.mark.parametrize("kind", ["lstm", "layers and lstm", "lstm alone"])
def test_an_lstm_remembers_as_torchs(kind):
    policy = OpponentPolicy(arrays(kind))
    cell = LSTMCell(policy.arrays["cell.weight_ih"].shape[1], UNITS)
    cell.load_state_dict(
        {n.removeprefix("cell."): torch.tensor(x) for n, x in policy.arrays.items() if "cell" in n}
    )
    memory, state = np.zeros((1, 2 * UNITS), np.float32), (torch.zeros(1, UNITS), torch.zeros(1, UNITS))
    rng = np.random.default_rng(2)
    for _ in range(4):
        obs = rng.standard_normal((1, D))
        action, memory = act(one_row(policy), obs, memory, np.zeros((1, A), np.float32))
        x = ((obs - policy.arrays["obs_mean"]) / policy.arrays["obs_std"]).clip(-2, 2).astype(np.float32)
        if kind == "lstm":
            embedded = np.maximum(
                x @ policy.arrays["embedding.weight"].T + policy.arrays["embedding.bias"], 0
            )
        else:
            embedded = x
            for i in range(2 if kind == "layers and lstm" else 0):
                weight, bias = policy.arrays[f"layers.{i}.weight"], policy.arrays[f"layers.{i}.bias"]
                embedded = np.tanh(embedded @ weight.T + bias)
        state = cell(torch.tensor(embedded), state)
        hidden = state[0].detach().numpy()
        expected = hidden @ policy.arrays["head.weight"].T + policy.arrays["head.bias"]
        np.testing.assert_allclose(action, expected.clip(-1, 1), atol=1e-6)
    np.testing.assert_allclose(memory, torch.cat(state, 1).detach().numpy(), atol=1e-6)


def crew_of(policies: list, horizon: int = 6, seed: int = 0) -> Crew:
    crew = Crew(len(policies), A, horizon, "Ant")
    ids = np.arange(len(policies))
    crew.assign(ids, policies)
    crew.begin(ids, [np.random.default_rng([seed, i]) for i in range(len(policies))])
    return crew


def test_what_one_does_depends_on_no_other_to_the_last_bit():
    policies = [OpponentPolicy(arrays(kind, seed, units)) for seed, (kind, units) in
                enumerate([("mlp", 4), ("lstm", 4), ("mlp", 4), ("mlp", 64), ("lstm", 64), ("lstm", 4)])]  # fmt: skip
    policies.insert(2, None)
    together = crew_of(policies)
    alone = []
    for i, policy in enumerate(policies):
        crew = Crew(1, A, 6, "Ant")
        crew.assign(np.arange(1), [policy])
        crew.begin(np.arange(1), [np.random.default_rng([0, i])])
        alone.append(crew)
    rng = np.random.default_rng(3)
    for _ in range(6):
        obs = rng.standard_normal((len(policies), D))
        actions = together.act(obs)
        for i, crew in enumerate(alone):
            np.testing.assert_array_equal(crew.act(obs[i : i + 1])[0], actions[i])
    assert (actions[2] == 0).all(), "no policy stands still"
    assert np.abs(actions[[0, 1, 3]]).min() > 0


def test_the_noise_of_every_step_is_the_next_of_the_generator():
    given = arrays("mlp")
    flat = {name: np.zeros_like(each) if name[:6] == "layers" else each for name, each in given.items()}
    crew = crew_of([OpponentPolicy(flat | {"log_std": np.zeros(A)})], horizon=4, seed=7)
    drawn = np.random.default_rng([7, 0]).standard_normal((4, A), dtype=np.float32)
    acted = [crew.act(np.ones((1, D)))[0] for _ in range(4)]
    np.testing.assert_array_equal(acted, drawn.clip(-1, 1))


def test_a_new_episode_forgets_and_draws_other_noise_from_the_generator():
    policy = OpponentPolicy(arrays("lstm"))
    obs = np.random.default_rng(4).standard_normal((1, D))
    crew = crew_of([policy])
    first = [crew.act(obs) for _ in range(3)]
    crew.begin(np.arange(1), [np.random.default_rng([0, 0])])
    np.testing.assert_array_equal([crew.act(obs) for _ in range(3)], first)
    crew.begin(np.arange(1), [np.random.default_rng([0, 1])])
    assert not np.array_equal([crew.act(obs) for _ in range(3)], first)


def test_a_state_that_is_put_back_goes_on_as_before():
    crew = crew_of([OpponentPolicy(arrays("lstm")), OpponentPolicy(arrays("mlp"))])
    obs = np.random.default_rng(5).standard_normal((2, D))
    crew.act(obs)
    state = crew.get_state()
    after = [crew.act(obs) for _ in range(3)]
    crew.set_state(state)
    np.testing.assert_array_equal([crew.act(obs) for _ in range(3)], after)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_std": np.zeros(A + 1)}, "ends in 3 numbers"),
        ({"layers.1.weight": np.zeros((UNITS, UNITS + 1))}, "'layers.1.weight'"),
        ({"obs_mean": None}, "needs 'obs_mean'"),
        ({"obs_std": np.ones(1)}, r"'obs_std' of an opponent's policy must have shape \(5,\), got \(1,\)"),
        ({"obs_std": np.zeros(D)}, "'obs_std' of an opponent's policy has numbers that are not positive"),
        ({"obs_clip": np.ones(1)}, r"'obs_clip' of an opponent's policy must have shape \(\), got \(1,\)"),
        ({"log_std": np.array(0.0)}, "'log_std' of an opponent's policy must have shape"),
        (
            {"layers.2.bias": None},
            r"'layers.2.bias' of an opponent's policy must have shape \(3,\), got none",
        ),
        ({"layers.2.bias": np.zeros(1)}, r"must have shape \(3,\), got \(1,\)"),
        ({"layers.0.weight": np.full((UNITS, D), np.nan)}, "'layers.0.weight' .* not finite"),
        ({"cell.weight_ih": np.zeros((4 * UNITS, A))}, "'cell.bias' .* got none"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    given = {name: each for name, each in (arrays("mlp") | change).items() if each is not None}
    with pytest.raises(ValueError, match=message):
        OpponentPolicy(given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell.weight_hh": np.zeros((4 * UNITS, UNITS + 1))}, r"'cell.weight_hh' .* got \(16, 5\)"),
        ({"cell.weight_ih": np.zeros((4 * UNITS + 1, UNITS))}, r"'cell.weight_ih' .* got \(17, 4\)"),
        ({"head.weight": None}, "'head.weight' .* got none"),
    ],
)
def test_memories_that_do_not_fit_are_refused(change, message):
    given = {name: each for name, each in (arrays("lstm") | change).items() if each is not None}
    with pytest.raises(ValueError, match=message):
        OpponentPolicy(given)


def test_a_policy_keeps_its_numbers_when_those_it_was_made_of_change():
    given = arrays("mlp")
    policy = OpponentPolicy(given)
    before = policy.arrays["layers.0.weight"].copy()
    given["layers.0.weight"] += 1
    np.testing.assert_array_equal(policy.arrays["layers.0.weight"], before)


def test_policies_are_read_from_checkpoints_and_damage_is_seen(tmp_path):
    given = arrays("mlp")
    path = tmp_path / "step_000000001"
    checkpoints.save(path, {name: torch.tensor(each) for name, each in given.items()}, {})
    for name, each in load_policy(path).arrays.items():
        np.testing.assert_array_equal(each, given[name])
    path.with_suffix(".safetensors").write_bytes(save({"x": np.zeros(1)}))
    with pytest.raises(ValueError, match="corrupt"):
        load_policy(path)
    checkpoints.save(path, {"x": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="step_000000001 holds no policy: an opponent's policy needs"):
        load_policy(path)
    path.with_suffix(".safetensors").unlink()
    with pytest.raises(ValueError, match="incomplete"):
        load_policy(path)
    path.with_suffix(".json").write_text(json.dumps([]))
    with pytest.raises(ValueError, match=r"incomplete|corrupt"):
        load_policy(path)
