"""Flat vectors of the original's policies, rebuilt by hand."""

import numpy as np
import pytest

from metarl.envs.opponents import act
from metarl.envs.original_zoo import BODIES, UNITS, read_original_zoo, unflatten

SIZES = {
    ("ant", "mlp"): 24_645,
    ("bug", "mlp"): 30_629,
    ("spider", "mlp"): 36_613,
    ("ant", "lstm"): 82_373,
    ("bug", "lstm"): 88_357,
    ("spider", "lstm"): 94_341,
}


def flat(body: str, kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vector = (0.1 * rng.standard_normal(SIZES[body, kind])).astype(np.float32)
    D = BODIES[body][0]
    count = 50.0
    mean, variance = rng.standard_normal(D), rng.uniform(0, 2, D)
    variance[0] = 0.0  # the least variance takes its place
    vector[3 : 3 + D], vector[3 + D : 3 + 2 * D] = mean * count, (variance + mean**2) * count
    vector[3 + 2 * D] = count
    return vector


def run_original(vector: np.ndarray, body: str, kind: str, observations: np.ndarray) -> np.ndarray:
    """The original's computation, straight from the flat vector: mean actions for a sequence of observations."""
    D, A = BODIES[body]
    total, squares, count = vector[3 : 3 + D], vector[3 + D : 3 + 2 * D], vector[3 + 2 * D]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-2))
    place = 3 + 2 * D + 1

    def take(*shape):
        nonlocal place
        size = int(np.prod(shape))
        place += size
        return vector[place - size : place].reshape(shape)

    hidden = (2 * UNITS, 4 * UNITS) if kind == "lstm" else (UNITS, UNITS)
    for out in (1, A):  # the value network first, then the policy
        w0, b0, w1, b1 = take(D, UNITS), take(UNITS), take(*hidden), take(hidden[1])
        w2, b2 = take(UNITS, out), take(out)
    h, c, actions = np.zeros(UNITS), np.zeros(UNITS), []
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    for obs in observations:
        x = np.clip((obs - mean) / std, -5, 5)
        if kind == "mlp":
            x = np.tanh(np.tanh(x @ w0 + b0) @ w1 + b1)
        else:
            i, j, f, o = np.split(np.concatenate([np.maximum(x @ w0 + b0, 0), h]) @ w1 + b1, 4)
            c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
            h = x = sigmoid(o) * np.tanh(c)
        actions.append(x @ w2 + b2)
    assert place + A == len(vector), "only the log standard deviations are left"
    return np.clip(actions, -1, 1)


@pytest.mark.parametrize(("body", "kind"), SIZES)
def test_a_rebuilt_policy_acts_as_the_vector_says(body, kind):
    vector = flat(body, kind)
    policy = unflatten(vector, body, kind)
    assert policy.recurrent == (kind == "lstm")
    D, A = BODIES[body]
    np.testing.assert_array_equal(policy.arrays["log_std"], vector[-A:])
    observations = np.random.default_rng(1).standard_normal((5, D))
    expected = run_original(vector.astype(np.float64), body, kind, observations)
    arrays = {name: each[None] for name, each in policy.arrays.items()}
    memory, quiet = np.zeros((1, policy.memory_size), np.float32), np.zeros((1, A), np.float32)
    for obs, wanted in zip(observations, expected, strict=True):
        action, memory = act(arrays, obs[None], memory, quiet)
        np.testing.assert_allclose(action[0], wanted, atol=2e-5)


def test_a_clone_is_read_whole(tmp_path, monkeypatch):
    for (body, kind), number in zip([("ant", "mlp"), ("spider", "lstm")], (3, 1), strict=True):
        folder = tmp_path / "robosumo" / "policy_zoo" / "assets" / body / kind
        folder.mkdir(parents=True)
        np.save(folder / f"agent-params-v{number}.npy", flat(body, kind))
    found = read_original_zoo(tmp_path)
    assert [(each.name, each.version) for each in found] == [("ant-mlp", 3), ("spider-lstm", 1)]
    monkeypatch.chdir(folder)
    assert [each.name for each in read_original_zoo(".")] == ["spider-lstm"]


def test_what_is_no_clone_is_refused_and_nothing_in_it_is_run(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        read_original_zoo(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="give a clone"):
        read_original_zoo(tmp_path)
    folder = tmp_path / "ant" / "mlp"
    folder.mkdir(parents=True)
    np.save(folder / "agent-params-v1.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        read_original_zoo(tmp_path)
    np.save(folder / "agent-params-v1.npy", np.zeros(7, np.float32))
    with pytest.raises(ValueError, match="24645 numbers"):
        read_original_zoo(tmp_path)
    (folder / "agent-params-v1.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read"):
        read_original_zoo(tmp_path)
    vector = flat("ant", "mlp")
    vector[-1] = np.inf
    np.save(folder / "agent-params-v1.npy", vector)
    with pytest.raises(ValueError, match=r"agent-params-v1.npy: 'log_std' .* not finite"):
        read_original_zoo(tmp_path)
