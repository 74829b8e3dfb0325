"""Policies of the original RoboSumo, read from a user's own clone of its repository.

Each is one flat vector of float32 numbers. Its length tells the body and the kind of policy; what lies where in it is
the order in which the original made its variables: the statistics of returns (3 numbers: sum, sum of squares, count),
those of observations (2 D + 1), the value network, the policy network, and the log standard deviations.

Legend: D observation size, A action size.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metarl.envs.opponents import OpponentPolicy

UNITS = 64
"""Of every hidden layer, and of the LSTM."""
BODIES = {"ant": (120, 8), "bug": (164, 12), "spider": (208, 16)}
"""Observation and action sizes by body; a policy sees no difference between opponents."""
CLIP = 5.0
"""Whitened observations lie in [-CLIP, CLIP]."""
LEAST_VARIANCE = 1e-2
"""What the variance of an observation is taken for, if it is less."""


@dataclass(frozen=True)
class OriginalPolicy:
    """One policy of the original zoo."""

    name: str
    """Body and kind, such as `ant-lstm`."""
    version: int
    """As the file is numbered: no order of strength."""
    policy: OpponentPolicy
    """Its arrays."""


def read_original_zoo(path: str | Path) -> list[OriginalPolicy]:
    """All policies below a folder: files `.../BODY/KIND/agent-params-vN.npy`.

    Args:
        path: A clone of the original repository, or any folder in it.

    Raises:
        ValueError: There are none, or one of them is not what it should be.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"'{path}' is no folder: give the folder that openai/robosumo was cloned into")
    files = sorted(path.resolve().rglob("agent-params-v*.npy"))
    if not files:
        raise ValueError(f"no agent-params-v*.npy lies below '{path}': give a clone of openai/robosumo")
    return [_read(each) for each in files]


def _read(path: Path) -> OriginalPolicy:
    body, kind, number = path.parts[-3], path.parts[-2], path.stem.removeprefix("agent-params-v")
    if body not in BODIES or kind not in ("mlp", "lstm") or not number.isdigit():
        raise ValueError(
            f"{path} is not named BODY/KIND/agent-params-vN.npy, BODY one of {', '.join(BODIES)}, KIND mlp or lstm"
        )
    try:
        flat = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from None
    try:
        policy = unflatten(flat, body, kind)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return OriginalPolicy(f"{body}-{kind}", int(number), policy)


def unflatten(flat: NDArray, body: str, kind: str) -> OpponentPolicy:
    """The policy that a flat vector holds.

    Args:
        flat: The numbers.
        body: `ant`, `bug` or `spider`.
        kind: `mlp` or `lstm`.

    Raises:
        ValueError: The vector has another length.
    """
    D, A = BODIES[body]
    hidden = _hidden_shapes(D, kind)
    shapes = [(), (), (), (D,), (D,), (), *hidden, (UNITS, 1), (1,), *hidden, (UNITS, A), (A,), (A,)]
    total = sum(int(np.prod(shape)) for shape in shapes)
    if np.shape(flat) != (total,):
        raise ValueError(f"{body}-{kind} has {total} numbers, got an array of shape {np.shape(flat)}")
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = [each.reshape(shape) for each, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]
    total_, squares, count = parts[3:6]
    mean = total_.astype(np.float64) / count
    variance = np.maximum(squares.astype(np.float64) / count - mean**2, LEAST_VARIANCE)
    *network, log_std = parts[6 + len(hidden) + 2 :]
    arrays = {"obs_mean": mean, "obs_std": np.sqrt(variance), "obs_clip": np.array(CLIP), "log_std": log_std}
    return OpponentPolicy(arrays | (_lstm(network) if kind == "lstm" else _perceptron(network)))


def _hidden_shapes(D: int, kind: str) -> list[tuple[int, ...]]:
    """Weights (in, out) and biases, but for the last layer."""
    if kind == "mlp":
        return [(D, UNITS), (UNITS,), (UNITS, UNITS), (UNITS,)]
    return [(D, UNITS), (UNITS,), (2 * UNITS, 4 * UNITS), (4 * UNITS,)]


def _perceptron(network: list[NDArray]) -> dict[str, NDArray]:
    pairs = zip(network[::2], network[1::2], strict=True)
    return {f"layers.{i}.{k}": x for i, (w, b) in enumerate(pairs) for k, x in (("weight", w.T), ("bias", b))}


def _lstm(network: list[NDArray]) -> dict[str, NDArray]:
    """Gates i, j, f, o as i, f, g, o; the original adds 1 to the forget gate when it runs."""
    embedding, embedding_bias, kernel, bias, head, head_bias = network
    i, j, f, o = (np.arange(UNITS) + UNITS * k for k in range(4))
    order = np.concatenate([i, f, j, o])
    shift = np.zeros(4 * UNITS)
    shift[UNITS : 2 * UNITS] = 1.0
    return {
        "embedding.weight": embedding.T,
        "embedding.bias": embedding_bias,
        "cell.weight_ih": kernel[:UNITS].T[order],
        "cell.weight_hh": kernel[UNITS:].T[order],
        "cell.bias": bias[order] + shift,
        "head.weight": head.T,
        "head.bias": head_bias,
    }
