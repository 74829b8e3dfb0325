"""What can be set about a gradient-based meta-policy, as frozen dataclasses (no torch is imported here)."""

from dataclasses import dataclass, field
from typing import Literal

from metarl.configs import refuse_below

Estimator = Literal["dice", "lvc", "log_prob"]


@dataclass(frozen=True)
class PolicyConfig:
    """The policy network: a diagonal Gaussian over actions."""

    body: Literal["mlp", "lstm"] = "mlp"
    """A perceptron; or a layer with ReLU and an LSTM, which remembers."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer; of the layer and of the LSTM."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Between the layers (mlp)."""
    unroll: int = 10
    """Steps that gradients go back through time (lstm)."""
    memory: Literal["episode", "lifetime"] = "lifetime"
    """How long the policy remembers when it lives a lifetime: forgetting after every episode, or not at all (lstm)."""
    spread: Literal["parameter", "network"] = "parameter"
    """Log standard deviation: one learned number per action, or a second head of the network."""
    initial_std: float = 0.6
    """Standard deviation of the actions at the start."""
    minimum_std: float = 0.1
    """The standard deviation never falls below this."""
    context_size: int = 0
    """Context parameters appended to the observation (CAVIA), of a value network too if it adapts; 0 for none."""
    normalize_observations: bool = True
    """Whiten observations by running statistics, which travel in the checkpoint."""


@dataclass(frozen=True)
class SamplingConfig:
    """How much is collected for one iteration, and how it is valued."""

    tasks: int = 20
    """Tasks (or pairs of consecutive tasks, or lifetimes) per iteration, over all ranks."""
    unit: Literal["task", "pair", "lifetime"] = "task"
    """Adapt to a task and be judged on it; be judged on the next task of a lifetime; or live lifetimes as at execution,
    each episode judging what was adapted on the ones before."""
    trajectories: int = 20
    """Trajectories per task, before the first and after every inner step."""
    horizon: int | None = None
    """Steps of one trajectory; unset, the world's own."""
    discount: float = 0.99
    """Discount per step, in (0, 1]."""
    gae_lambda: float = 0.95
    """Exponent of generalised advantage estimation, in [0, 1]."""
    baseline: Literal["linear", "network", "none"] = "linear"
    """Features fitted to each task's returns, a value network over all tasks, or nothing."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this before they are valued; reported returns are not."""


@dataclass(frozen=True)
class InnerConfig:
    """The inner loop: what adapts, and how."""

    steps: int = 1
    """Inner steps in training, each on fresh trajectories."""
    lr: float = 0.3
    """Step size, or where learned step sizes start."""
    context_lr: float | None = None
    """Step size of the context parameters, or where it starts, if it is another."""
    step_sizes: Literal["fixed", "step", "tensor", "parameter"] = "fixed"
    """Fixed, or learned: one per step, per step and tensor, or per parameter (Meta-SGD)."""
    estimator: Estimator = "dice"
    """Surrogate that the inner loop descends: DiCE, LVC (low-variance curvature), or log-probability x advantage."""
    adapted: Literal["all", "context"] = "all"
    """All policy parameters, or the context parameters only (CAVIA)."""
    first_order: bool = False
    """Leave the inner loop's own gradient out of the meta-gradient."""
    clip: float | None = None
    """Bound on each inner gradient; unset for none."""
    clip_by: Literal["value", "norm"] = "value"
    """What the bound is on: every component, or the norm over all adapted parameters."""
    value_weight: float = 0.0
    """Weight of the value network's error in the inner loss; above 0 it adapts with the policy."""


@dataclass(frozen=True)
class ExecutionConfig:
    """How an agent adapts in a lifetime: from the same parameters after every episode, on the last episodes."""

    buffer: int = 3
    """Episodes that an update is made from; weights allow for the policies that sampled them."""
    importance: Literal["trajectory", "per_decision", "step", "none"] = "trajectory"
    """Ratio of a whole trajectory's probabilities, of the actions up to a step, of one action, or 1."""
    clip: float = 5.0
    """Logarithms of importance weights are clipped to [-clip, clip]."""


@dataclass(frozen=True)
class OuterConfig:
    """The outer step: what is done with the meta-gradient."""

    step: Literal["trpo", "ppo", "reptile"] = "trpo"
    """Trust region; clipped surrogate with Adam; or a move towards the adapted parameters."""
    score_terms: bool = False
    """Credit the sampling before adaptation by explicit score terms (E-MAML); belongs to the log_prob estimator."""
    lr: float = 3e-3
    """Adam's step size (ppo), or the share of the way to the adapted parameters (reptile)."""
    step_size_lr: float = 0.01
    """Adam's step size for learned inner step sizes, as a share of where each of them starts (ppo)."""
    epochs: int = 5
    """Passes over one batch (ppo)."""
    minibatches: int = 1
    """Parts of one batch, each of some of its tasks and with a gradient step of its own (ppo)."""
    clip: float = 0.3
    """The probability ratio is clipped to [1 - clip, 1 + clip] (ppo)."""
    inner_kl: float = 5e-4
    """Weight of the KL divergence of each inner step's policy from the one that sampled (ppo; ProMP eq. 12)."""
    max_grad_norm: float | None = 0.5
    """Bound on the norm of the meta-gradient (ppo); unset for none."""
    max_kl: float = 0.01
    """Trust region on the adapted policies' mean KL divergence (trpo)."""
    cg_steps: int = 10
    """Conjugate-gradient steps (trpo)."""
    damping: float = 1e-3
    """Added to the curvature's diagonal (trpo)."""
    backtracks: int = 15
    """Line-search steps, each 0.8 of the last (trpo)."""
    entropy: float = 0.0
    """Weight of the adapted policy's entropy in the objective."""
    before: float = 0.0
    """Weight of the return before adaptation, as in the first episode of a lifetime, beside that after it (ppo)."""


@dataclass(frozen=True)
class MetaPolicyGradient:
    """A policy trained so that few policy-gradient steps adapt it."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """The network."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """What is collected."""
    inner: InnerConfig = field(default_factory=InnerConfig)
    """The inner loop."""
    outer: OuterConfig = field(default_factory=OuterConfig)
    """The outer step."""
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    """Adaptation in a lifetime."""

    def __post_init__(self):
        refuse_wrong_pairing(self.inner, self.outer)
        if self.inner.adapted == "context" and self.policy.context_size < 1:
            raise ValueError(
                "inner.adapted='context' but policy.context_size=0: there is nothing to adapt; "
                "set policy.context_size to 1 or more"
            )
        if self.sampling.baseline == "network" and self.outer.step != "ppo":
            raise ValueError(
                f"sampling.baseline='network' with outer.step='{self.outer.step}': the value network learns by Adam "
                "beside the policy; use outer.step='ppo', or sampling.baseline='linear'"
            )
        if self.sampling.unit == "lifetime" and (self.outer.step != "ppo" or self.outer.score_terms):
            raise ValueError(
                "sampling.unit='lifetime' adapts on episodes that adapted policies sampled: it needs outer.step='ppo', "
                "and inner.estimator='lvc' or 'dice' with outer.score_terms=False"
            )
        if self.sampling.unit == "lifetime" and (self.outer.before > 0 or self.outer.inner_kl > 0):
            raise ValueError(
                f"outer.before={self.outer.before}, outer.inner_kl={self.outer.inner_kl} with sampling.unit='lifetime': "
                "what is adapted on was sampled by other policies than the one before adaptation, and the first episode "
                "counts as it is; set both to 0"
            )
        if self.sampling.unit == "lifetime" and self.sampling.trajectories != 1:
            raise ValueError(
                f"sampling.trajectories={self.sampling.trajectories} with sampling.unit='lifetime': an episode of a "
                "lifetime is one trajectory; use sampling.trajectories=1, and more sampling.tasks"
            )
        if self.inner.value_weight > 0 and self.sampling.baseline != "network":
            raise ValueError(
                f"inner.value_weight={self.inner.value_weight} with sampling.baseline='{self.sampling.baseline}': "
                "there is no value network to adapt; use sampling.baseline='network', or inner.value_weight=0"
            )
        if self.policy.body == "lstm" and len(self.policy.hidden) != 2:
            raise ValueError(
                f"policy.hidden={self.policy.hidden} with policy.body='lstm', expected two numbers: "
                "units of the layer before the LSTM, and of the LSTM"
            )
        if self.outer.step == "reptile":
            _refuse_beside_reptile(self)
        _refuse_out_of_range(self)


def _refuse_beside_reptile(config: MetaPolicyGradient) -> None:
    """Refuse what a move towards the adapted parameters leaves without effect."""
    inner, outer = config.inner, config.outer
    settings = (
        ("inner.adapted", inner.adapted, "all", "the parameters that do not adapt would not learn"),
        ("inner.step_sizes", inner.step_sizes, "fixed", "step sizes would not learn"),
        ("outer.score_terms", outer.score_terms, False, "there is no objective that they could be part of"),
        ("outer.entropy", outer.entropy, 0.0, "there is no objective that it could be part of"),
    )
    for name, value, expected, reason in settings:
        if value != expected:
            raise ValueError(
                f"{name}={value!r} with outer.step='reptile', expected {expected!r}: it moves towards the adapted "
                f"parameters, and {reason}"
            )


def refuse_wrong_pairing(inner: InnerConfig, outer: OuterConfig) -> None:
    """Refuse an inner estimator and score terms that together give a biased meta-gradient.

    The right forms are log-probability with score terms (Al-Shedivat et al. 2018, eq. 4; E-MAML) and DiCE or LVC
    without them (Foerster et al. 2018; Rothfuss et al. 2019). The other two mixes leave the sampling's share of
    the gradient out, or count it twice. A first-order meta-gradient has no such share.

    Raises:
        ValueError: The pairing is one of the two wrong ones.
    """
    if outer.score_terms and inner.estimator != "log_prob":
        raise ValueError(
            f"inner.estimator='{inner.estimator}' with outer.score_terms=True counts the sampling gradient twice; "
            "use inner.estimator='log_prob', or outer.score_terms=False"
        )
    exact = not inner.first_order and outer.step != "reptile"
    if inner.estimator == "log_prob" and not outer.score_terms and exact:
        raise ValueError(
            "inner.estimator='log_prob' without score terms leaves the sampling gradient out; "
            "use inner.estimator='dice' or 'lvc', or outer.score_terms=True"
        )
    if outer.score_terms and inner.first_order:
        raise ValueError(
            "outer.score_terms=True with inner.first_order=True: score terms complete an exact meta-gradient; "
            "drop one of the two"
        )


AT_LEAST = {
    "policy": {"context_size": 0, "unroll": 1},
    "sampling": {"tasks": 1, "trajectories": 1, "horizon": 1},
    "inner": {"steps": 1},
    "outer": {"epochs": 1, "cg_steps": 1, "backtracks": 1},
    "execution": {"buffer": 1},
}
"""The smallest whole numbers that are allowed, by part and field."""


def _refuse_out_of_range(config: MetaPolicyGradient) -> None:
    for part, at_least in AT_LEAST.items():
        refuse_below(at_least, vars(getattr(config, part)), f"{part}.")
    sampling, inner, outer = config.sampling, config.inner, config.outer
    ranges = (
        ("sampling.discount", sampling.discount, 0 < sampling.discount <= 1, "in (0, 1]"),
        ("sampling.gae_lambda", sampling.gae_lambda, 0 <= sampling.gae_lambda <= 1, "in [0, 1]"),
        ("sampling.reward_scale", sampling.reward_scale, sampling.reward_scale > 0, "above 0"),
        ("inner.lr", inner.lr, inner.lr > 0, "above 0"),
        (
            "inner.context_lr",
            inner.context_lr,
            inner.context_lr is None
            or (inner.context_lr > 0 and inner.step_sizes != "step" and config.policy.context_size > 0),
            "above 0, with policy.context_size above 0 and inner.step_sizes other than 'step'",
        ),
        ("inner.value_weight", inner.value_weight, inner.value_weight >= 0, "0 or more"),
        ("execution.clip", config.execution.clip, config.execution.clip > 0, "above 0"),
        ("inner.clip", inner.clip, inner.clip is None or inner.clip > 0, "above 0"),
        ("outer.lr", outer.lr, outer.lr > 0, "above 0"),
        (
            "outer.before",
            outer.before,
            outer.before == 0 or (outer.before > 0 and outer.step == "ppo"),
            "0 or more, with outer.step='ppo'",
        ),
        ("outer.step_size_lr", outer.step_size_lr, outer.step_size_lr > 0, "above 0"),
        (
            "outer.minibatches",
            outer.minibatches,
            outer.minibatches == 1 or (outer.step == "ppo" and 1 <= outer.minibatches <= sampling.tasks),
            "1, or with outer.step='ppo' up to sampling.tasks",
        ),
        ("outer.clip", outer.clip, outer.clip > 0, "above 0"),
        ("outer.max_kl", outer.max_kl, outer.max_kl > 0, "above 0"),
        ("outer.damping", outer.damping, outer.damping >= 0, "0 or more"),
        ("outer.inner_kl", outer.inner_kl, outer.inner_kl >= 0, "0 or more"),
        (
            "outer.max_grad_norm",
            outer.max_grad_norm,
            outer.max_grad_norm is None or outer.max_grad_norm > 0,
            "above 0",
        ),
        (
            "policy.hidden",
            config.policy.hidden,
            all(units >= 1 for units in config.policy.hidden),
            "1 or more each",
        ),
        ("policy.initial_std", config.policy.initial_std, config.policy.initial_std > 0, "above 0"),
        ("policy.minimum_std", config.policy.minimum_std, config.policy.minimum_std > 0, "above 0"),
    )
    for name, value, right, expected in ranges:
        if not right:
            raise ValueError(f"{name}={value!r}, expected {expected}")
