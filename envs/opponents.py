"""Opponents: policies that act inside a world, as arrays.

A world knows no learner, so an opponent that is trained here is only its numbers: a Gaussian policy, a perceptron or one
with an LSTM, read from a safetensors file or handed over by whoever trains it. Many act at once, each row by matrix
products of its own, so that what one does never depends on how many act beside it, to the last bit.

Legend: B rows, D observation size, A action size, M memory.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as arrays_from_bytes

from metarl.configs import read_json

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class OpponentPolicy:
    """A Gaussian policy as arrays.

    Attributes:
        arrays: `obs_mean`, `obs_std` (D,), `obs_clip` (): observations are whitened and clipped; `log_std` (A,); layers
            `layers.{i}.weight` (out, in) and `.bias`, with tanh after each but the last. One with memory has instead
            layers with tanh, or one with ReLU (`embedding.weight`, `.bias`), or none, then an LSTM `cell.weight_ih`
            (4 units, in), `cell.weight_hh`, `cell.bias` (gates in the order i, f, g, o), then `head.weight`, `.bias`.
            `canonical` () is there if it acts in the frame of `metarl.envs.symmetries.Canonical`. All float32.

    Raises:
        ValueError: Arrays are missing, their shapes do not fit together, or a number in them is not finite.
    """

    arrays: Mapping[str, Floats]

    def __post_init__(self):
        arrays = {name: np.array(each, np.float32, order="C") for name, each in self.arrays.items()}
        object.__setattr__(self, "arrays", arrays)
        for name in ("obs_mean", "obs_std", "obs_clip", "log_std"):
            if name not in arrays:
                raise ValueError(f"an opponent's policy needs '{name}', got {sorted(arrays)}")
        last = arrays["obs_mean"].size
        for name, shape in (("obs_mean", (last,)), ("obs_std", (last,)), ("obs_clip", ())):
            self._expect(name, shape)
        self._expect("log_std", (arrays["log_std"].size,))
        for part in _parts(arrays):
            last = self._check_layer(part, last)
        if last != self.action_size:
            raise ValueError(
                f"an opponent's policy ends in {last} numbers, but 'log_std' has {self.action_size}"
            )
        for name, each in arrays.items():
            if not np.isfinite(each).all() or (name == "obs_std" and not (each > 0).all()):
                expected = "positive" if name == "obs_std" else "finite"
                raise ValueError(f"'{name}' of an opponent's policy has numbers that are not {expected}")

    def _check_layer(self, part: str, inputs: int) -> int:
        """How many numbers a layer gives, if its arrays fit together."""
        weight, gates = ("cell.weight_ih", 4) if part == "cell" else (f"{part}.weight", 1)
        got = self.arrays[weight].shape if weight in self.arrays else "none"
        if len(got) != 2 or got[1] != inputs or got[0] % gates:
            out = "4 units" if part == "cell" else "out"
            raise ValueError(
                f"'{weight}' of an opponent's policy must have shape ({out}, {inputs}), got {got}"
            )
        units = got[0] // gates
        self._expect(f"{part}.bias", (gates * units,))
        if part == "cell":
            self._expect("cell.weight_hh", (gates * units, units))
        return units

    def _expect(self, name: str, shape: tuple[int, ...]) -> None:
        got = self.arrays[name].shape if name in self.arrays else "none"
        if got != shape:
            raise ValueError(f"'{name}' of an opponent's policy must have shape {shape}, got {got}")

    @property
    def recurrent(self) -> bool:
        """Whether it has a memory."""
        return "cell.weight_ih" in self.arrays

    @property
    def observation_size(self) -> int:
        """D."""
        return self.arrays["obs_mean"].shape[0]

    @property
    def action_size(self) -> int:
        """A."""
        return self.arrays["log_std"].shape[0]

    @property
    def memory_size(self) -> int:
        """M: hidden and cell state; 0 without an LSTM."""
        return 2 * self.arrays["cell.weight_hh"].shape[1] if self.recurrent else 0

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its arrays: tells it from another one of the same sizes."""
        found = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            found.update(name.encode() + array.tobytes())
        return found.hexdigest()

    @property
    def signature(self) -> tuple:
        """Equal for policies that can act side by side as one stack of arrays."""
        return tuple(sorted((name, each.shape) for name, each in self.arrays.items()))


def act(arrays: Mapping[str, Floats], obs: NDArray, memory: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Actions of B policies, one row each.

    Args:
        arrays: As in `OpponentPolicy`, each with a leading axis B.
        obs: (B, D).
        memory: (B, M); M is 0 without an LSTM.
        noise: Standard normal numbers (B, A); zeros for the mean action.

    Returns:
        Actions in [-1, 1], (B, A), and the memory afterwards.
    """
    clip = arrays["obs_clip"][:, None]
    x = np.clip((obs - arrays["obs_mean"]) / arrays["obs_std"], -clip, clip).astype(np.float32)
    *before, last = _parts(arrays)
    for part in before:
        if part == "cell":
            x, memory = _through_lstm(arrays, x, memory)
        elif part == "embedding":
            x = np.maximum(_linear(arrays, part, x), 0)
        else:
            x = np.tanh(_linear(arrays, part, x))
    mean = _linear(arrays, last, x)
    return np.clip(mean + np.exp(arrays["log_std"]) * noise, -1, 1), memory


def _linear(arrays: Mapping[str, Floats], name: str, x: Floats) -> Floats:
    return np.matmul(arrays[f"{name}.weight"], x[:, :, None])[:, :, 0] + arrays[f"{name}.bias"]


def _parts(arrays: Mapping[str, Floats]) -> list[str]:
    """The layers of a policy, first to last."""
    depth = sum(name.startswith("layers.") and name.endswith("weight") for name in arrays)
    first = ["embedding"] if "embedding.weight" in arrays else [f"layers.{i}" for i in range(depth)]
    return [*first, "cell", "head"] if "cell.weight_ih" in arrays else first or ["layers.0"]


def _through_lstm(arrays: Mapping[str, Floats], x: Floats, memory: Floats) -> tuple[Floats, Floats]:
    hidden, cell = np.split(memory, 2, axis=1)
    gates = np.matmul(arrays["cell.weight_ih"], x[:, :, None])[:, :, 0] + arrays["cell.bias"]
    gates = gates + np.matmul(arrays["cell.weight_hh"], hidden[:, :, None])[:, :, 0]
    i, f, g, o = np.split(gates, 4, axis=1)
    cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
    hidden = _sigmoid(o) * np.tanh(cell)
    return hidden, np.concatenate([hidden, cell], axis=1)


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(0.5 * x))


def load_policy(path: str | Path) -> OpponentPolicy:
    """Read a policy: a safetensors file and the JSON beside it, which holds its digest.

    Raises:
        ValueError: A file is missing, damaged, or holds no policy.
    """
    path = Path(path).with_suffix("")
    described = read_json(path.with_name(f"{path.name}.json"))
    try:
        data = path.with_name(f"{path.name}.safetensors").read_bytes()
    except FileNotFoundError:
        raise ValueError(f"opponent {path} is incomplete: it has no .safetensors file") from None
    expected = described.get("tensors", {}).get("sha256") if isinstance(described, dict) else None
    if hashlib.sha256(data).hexdigest() != expected:
        raise ValueError(f"opponent {path} is corrupt: its arrays are not those it was saved with")
    try:
        return OpponentPolicy(arrays_from_bytes(data))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"opponent {path} holds no policy: {error}") from None
