"""RL^2: PPO with memory that also observes its last action and reward, so that its memory can learn to learn.

Duan et al. 2016 (arXiv 1611.02779); Wang et al. 2016 (arXiv 1611.05763). The return over the whole lifetime is
maximised; the memory is emptied at its start only.
"""

from metarl.agents.recurrent_ppo import RecurrentPPOConfig

CONFIG = RecurrentPPOConfig(feedback=True, episodes=3)
