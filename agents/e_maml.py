"""E-MAML: MAML that credits the exploration before adaptation by explicit score terms.

Al-Shedivat et al. 2018 (arXiv 1710.03641), eq. 4; Stadie et al. 2018 (arXiv 1803.01118). The inner surrogate is
log-probability x advantage, and the outer objective adds, for every trajectory sampled before adaptation, its score
times the return after adaptation (less the mean return of the other tasks, which does not bias it). What differs: the
outer step is PPO's, and the score terms' ratios are clipped as its own are.
"""

from metarl.agents.configs import InnerConfig, MetaPolicyGradient, OuterConfig

CONFIG = MetaPolicyGradient(
    inner=InnerConfig(estimator="log_prob"), outer=OuterConfig(step="ppo", score_terms=True)
)
