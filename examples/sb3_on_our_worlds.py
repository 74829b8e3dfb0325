"""Stable-Baselines3 on a world of this suite: one PPO policy for all tasks, a new task in every episode.

Run: python examples/sb3_on_our_worlds.py [--steps 200000]    (about a minute)
"""

import argparse

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

import metarl  # noqa: F401  registers the worlds
from metarl.envs.sb3 import as_sb3

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=200_000, help="environment steps to train for")
parser.add_argument("--world", default="metarl/CheetahVel-v0")
args = parser.parse_args()

env = as_sb3(args.world, num_envs=16)
model = PPO("MlpPolicy", env, n_steps=128, batch_size=256, seed=1, device="cpu")
model.learn(args.steps)
mean, std = evaluate_policy(model, env, n_eval_episodes=32, warn=False)
print(f"return over tasks: {mean:.1f} +- {std:.1f}")
env.close()
