"""Opponents: policies that act inside a world, as arrays.

A world knows no learner, so an opponent is only its numbers: a Gaussian policy, a perceptron or one with an LSTM, read
from a safetensors file or handed over by whoever trains it. Many opponents act at once, each row by matrix products of
its own, so that what one does never depends on how many act beside it, to the last bit.

Legend: n simulations, B rows, D observation size, A action size, M memory.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
            layers with tanh, or one with ReLU (`embedding.weight`, `.bias`), then an LSTM `cell.weight_ih`
            (4 units, in), `cell.weight_hh`, `cell.bias` (gates in the order i, f, g, o), then `head.weight`, `.bias`.
            All float32.

    Raises:
        ValueError: Arrays are missing, or their shapes do not fit together.
    """

    arrays: Mapping[str, Floats]

    def __post_init__(self):
        arrays = {name: np.asarray(each, np.float32, order="C") for name, each in self.arrays.items()}
        object.__setattr__(self, "arrays", arrays)
        for name in ("obs_mean", "obs_std", "obs_clip", "log_std"):
            if name not in arrays:
                raise ValueError(f"an opponent's policy needs '{name}', got {sorted(arrays)}")
        last = self.observation_size
        for part in self._parts():
            name = "cell.weight_ih" if part == "cell" else f"{part}.weight"
            if name not in arrays or arrays[name].ndim != 2 or arrays[name].shape[1] != last:
                got = arrays[name].shape if name in arrays else "none"
                raise ValueError(f"'{name}' of an opponent's policy must have shape (out, {last}), got {got}")
            last = arrays[name].shape[0] // (4 if part == "cell" else 1)
        if last != self.action_size:
            raise ValueError(
                f"an opponent's policy ends in {last} numbers, but 'log_std' has {self.action_size}"
            )

    def _parts(self) -> list[str]:
        """Its layers, first to last."""
        first = ["embedding"] if "embedding.weight" in self.arrays else _layers(self.arrays)
        return [*first, "cell", "head"] if self.recurrent else first or ["layers.0"]

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
    *hidden, last = _layers(arrays) or [""]
    for name in hidden:
        x = np.tanh(_linear(arrays, name, x))
    if "cell.weight_ih" in arrays:
        x = np.tanh(_linear(arrays, last, x)) if last else np.maximum(_linear(arrays, "embedding", x), 0)
        x, memory = _through_lstm(arrays, x, memory)
        last = "head"
    mean = _linear(arrays, last, x)
    return np.clip(mean + np.exp(arrays["log_std"]) * noise, -1, 1), memory


def _linear(arrays: Mapping[str, Floats], name: str, x: Floats) -> Floats:
    return np.matmul(arrays[f"{name}.weight"], x[:, :, None])[:, :, 0] + arrays[f"{name}.bias"]


def _layers(arrays: Mapping[str, Floats]) -> list[str]:
    depth = sum(name.startswith("layers.") and name.endswith("weight") for name in arrays)
    return [f"layers.{i}" for i in range(depth)]


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
    except SafetensorError as error:
        raise ValueError(f"opponent {path} is corrupt: {error}") from None


class Crew:
    """The opponents of n simulations, acting at once.

    Args:
        num: n.
        action_size: A.
        horizon: Steps of an episode, for which the noise of the actions is drawn when it begins.
    """

    def __init__(self, num: int, action_size: int, horizon: int):
        self._policies: list[OpponentPolicy | None] = [None] * num
        self._noise = np.zeros((num, horizon, action_size), np.float32)
        self._memory = [np.zeros(0, np.float32)] * num
        self._elapsed = np.zeros(num, np.int64)
        self._stacks: list[tuple[NDArray[np.intp], dict[str, Floats]]] | None = None

    def assign(self, ids: NDArray[np.intp], policies: Sequence[OpponentPolicy | None]) -> None:
        """Give simulations their opponents; None stands still."""
        for index, policy in zip(ids.tolist(), policies, strict=True):
            self._policies[index] = policy
            self._memory[index] = np.zeros(0 if policy is None else policy.memory_size, np.float32)
        self._stacks = None

    def begin(self, ids: NDArray[np.intp], rngs: Sequence[np.random.Generator]) -> None:
        """Empty memories, and draw the noise of an episode from each simulation's generator."""
        _, horizon, size = self._noise.shape
        for index, rng in zip(ids.tolist(), rngs, strict=True):
            self._noise[index] = rng.standard_normal((horizon, size), dtype=np.float32)
            self._memory[index] = np.zeros_like(self._memory[index])
        self._elapsed[ids] = 0

    def act(self, obs: NDArray) -> Floats:
        """Actions (n, A) for observations (n, D); the clocks of all simulations go on by one."""
        actions = np.zeros((len(self._policies), self._noise.shape[2]), np.float32)
        steps = np.minimum(self._elapsed, self._noise.shape[1] - 1)
        for rows, arrays in self._stacked():
            memory = np.stack([self._memory[row] for row in rows])
            noise = self._noise[rows, steps[rows]]
            actions[rows], after = act(arrays, obs[rows], memory, noise)
            for row, each in zip(rows, after, strict=True):
                self._memory[row] = each
        self._elapsed += 1
        return actions

    def _stacked(self) -> list[tuple[NDArray[np.intp], dict[str, Floats]]]:
        """Simulations whose opponents have arrays of equal shapes, and those arrays with a leading axis."""
        if self._stacks is None:
            groups: dict[tuple, list[int]] = {}
            for row, policy in enumerate(self._policies):
                if policy is not None:
                    groups.setdefault(policy.signature, []).append(row)
            self._stacks = []
            for rows in groups.values():
                first = self._policies[rows[0]]
                arrays = {
                    name: np.stack([self._policies[row].arrays[name] for row in rows])
                    for name in first.arrays
                }
                self._stacks.append((np.array(rows), arrays))
        return self._stacks

    def get_state(self) -> dict:
        """Memories, clocks and the noise to come."""
        memory = [each.copy() for each in self._memory]
        return {"memory": memory, "elapsed": self._elapsed.copy(), "noise": self._noise.copy()}

    def set_state(self, state: dict) -> None:
        """Put back what `get_state` gave; the opponents must have been assigned."""
        self._memory = [each.copy() for each in state["memory"]]
        self._elapsed[...] = state["elapsed"]
        self._noise[...] = state["noise"]
