"""Continuous adaptation: each update on the last episodes prepares the policy for the next, changed task.

Al-Shedivat et al. 2018 (arXiv 1710.03641): the meta-loss is over consecutive tasks of a lifetime (eq. 6), policy and
value network both adapt, step sizes are learned, and sampling before adaptation is credited by score terms (eq. 4).
What differs: step sizes are learned for every tensor and start at 0.01 (the paper's, one per step, at 0.001), the outer
step size is 1e-3 (3e-4), the discount 0.99 (0.995), and a context of 16 numbers adapts too (none).
"""

from metarl.agents.configs import (
    InnerConfig,
    MetaPolicyGradient,
    OuterConfig,
    PolicyConfig,
    SamplingConfig,
)

CONFIG = MetaPolicyGradient(
    policy=PolicyConfig(minimum_std=0.01, context_size=16),
    sampling=SamplingConfig(tasks=12, unit="pair", trajectories=3, discount=0.99, baseline="network"),
    inner=InnerConfig(
        steps=3, lr=0.01, step_sizes="tensor", estimator="log_prob", clip=0.1, value_weight=1.0
    ),
    outer=OuterConfig(step="ppo", score_terms=True, lr=1e-3, epochs=5, clip=0.2, inner_kl=0.0),
)
