"""Agents: learners of behaviour that adapt, by name."""

from importlib import import_module

from metarl.names import unknown

AGENTS: dict[str, str] = {
    "maml": "MAML: policy-gradient inner steps (DiCE), trust-region outer step",
    "e-maml": "E-MAML: MAML with score terms that credit exploration",
    "promp": "ProMP: low-variance inner surrogate, clipped outer surrogate with an inner KL penalty",
    "meta-sgd": "Meta-SGD: learned step sizes, one per parameter",
    "cavia": "CAVIA: only a context vector adapts",
    "fomaml": "First-order MAML",
    "reptile": "Reptile: move towards adapted parameters",
    "continuous-adaptation": "Al-Shedivat et al. 2018: each update prepares the policy for the next task",
    "ppo": "PPO of Stable-Baselines3: one policy for all tasks, no adaptation, or tracking in lifetimes (baseline)",
    "recurrent-ppo": "PPO with an LSTM of sb3-contrib: remembers what it observed (baseline)",
    "rl2": "RL^2: recurrent PPO that also observes its actions and rewards, over whole lifetimes (baseline)",
    "self-play": "PPO against earlier versions of itself and a pool of opponents, with or without an LSTM",
}
"""Every agent's name and what it is, in one line."""


def preset(name: str):
    """The configuration that an agent's name stands for.

    Args:
        name: A key of `AGENTS`.

    Returns:
        A frozen dataclass: `MetaPolicyGradient`, for the baselines `PPOConfig` or `RecurrentPPOConfig`, or
        `SelfPlayConfig`.

    Raises:
        ValueError: There is no such agent; the message names the nearest.
    """
    if name not in AGENTS:
        raise unknown("agent", name, AGENTS)
    return import_module(f"metarl.agents.{name.replace('-', '_')}").CONFIG
