"""One training experiment, as a frozen dataclass (no torch is imported here)."""

from dataclasses import dataclass, field
from typing import Any

from metarl.configs import refuse_below, refuse_large_seed


@dataclass(frozen=True)
class Experiment:
    """Where an agent is trained, for how long, and what is kept."""

    world: str
    """Id of the world, e.g. metarl/CheetahDir-v0."""
    steps: int = 5_000_000
    """Environment steps to train for, over all tasks and ranks (meta-policies share the tasks among ranks)."""
    seed: int = 0
    """Everything random follows from it."""
    out: str = "runs"
    """Folder under which the run folder is made."""
    device: str = "auto"
    """auto, cpu or cuda."""
    evaluate_every: int = 25
    """Iterations between evaluations on test tasks; 0 for none."""
    checkpoint_every: int = 10
    """Iterations between checkpoints; the last is always kept."""
    evaluation_steps: int = 3
    """Inner steps that an evaluation takes (meta-policies)."""
    evaluation_tasks: int = 10
    """Test tasks of an evaluation, where there are more."""
    start_from: str | None = None
    """What training starts from: the folder of a run with the same networks, whose policy, values and observation
    statistics are taken over. Meta-policies may also start from a run of `ppo`; agents with memory then imitate it first.
    In sumo also a wrestler, such as ant@7, or a gait, such as gait-spider, which is imitated."""
    world_options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the world; on the command line e.g. control_cost=0.1."""

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}, expected 1 or more environment steps")
        at_least = {"seed": 0, "evaluate_every": 0, "checkpoint_every": 0, "evaluation_steps": 0}
        refuse_below(at_least | {"evaluation_tasks": 1}, vars(self))
        refuse_large_seed(self.seed)
        if "horizon" in self.world_options:
            raise ValueError(
                "the world's option horizon is the agent's to set: use --sampling.horizon, or --horizon of ppo, "
                "recurrent-ppo and rl2"
            )
