"""What a benchmark is to train and judge (no torch is imported here)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from metarl.configs import refuse_below, to_dict
from metarl.names import unknown
from metarl.schedule import Device
from metarl.supervised.datasets import settled, settled_root
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.methods import METHODS, preset

Setting = Literal["5w1s", "5w5s", "20w1s", "20w5s"]
SETTINGS = {"5w1s": (5, 1), "5w5s": (5, 5), "20w1s": (20, 1), "20w5s": (20, 5)}
"""Ways and shots by the names that tables have for them."""
SMALL_UPDATES = 500
"""Updates of a small training: minutes on two cores, far from what the papers trained for."""
PAPER_UPDATES = {
    "anil": 60_000,
    "cavia": 60_000,
    "classifier-baseline": 30_000,
    "fomaml": 60_000,
    "leo": 100_000,
    "maml": 60_000,
    "maml++": 50_000,
    "matching": 75_000,
    "meta-baseline": 34_000,
    "meta-lstm": 75_000,
    "meta-sgd": 60_000,
    "mtl": 10_000,
    "relation": 500_000,
    "reptile": 100_000,
    "tadam": 30_000,
    "versa": 80_000,
}
"""Updates that the papers or their code name, stages among them, and one number for all data and ways; 20,000 where they
name none (they then stop by validation)."""
PAPER_DEFAULT = 20_000
TEST_EPISODES = {"small": 600, "paper": 2_000}


@dataclass(frozen=True)
class Benchmark:
    """What is compared, and how thoroughly."""

    data: str
    """Name of the data set."""
    methods: tuple[str, ...] = ("all",)
    """Names of methods, or all."""
    settings: tuple[Setting, ...] = ("5w1s", "5w5s", "20w1s", "20w5s")
    """Ways and shots."""
    budget: Literal["small", "paper"] = "small"
    """small: 500 updates and 600 test episodes; paper: about as many updates as the papers, and 2,000 test episodes."""
    seeds: tuple[int, ...] = (0,)
    """Trainings of each; test episodes are the same for all."""
    updates: int | None = None
    """Updates of each training; unset, what the budget says."""
    test_episodes: int | None = None
    """Test episodes; unset, what the budget says."""
    validation_episodes: int = 200
    """Episodes of a validation while it trains, always the same ones."""
    out: str = "runs/fewshot-benchmark"
    """Folder of the tables and of the runs."""
    device: Device = "auto"
    """Where to compute."""
    data_root: str | None = None
    """Folder of the data sets; unset, $METARL_DATA, or ~/.cache/metarl."""
    image_size: int | None = None
    """Height and width that images are brought to; unset, what is usual for the data set."""
    quiet: bool = False
    """Show no progress of each training."""

    def __post_init__(self):
        if self.data == "sinusoid":
            raise ValueError(
                "data='sinusoid' has no ways and shots to compare by; expected a data set of images"
            )
        for name in self.methods:
            if name != "all" and name not in METHODS:
                raise unknown("method", name, [*METHODS, "all"])
        for name in self.settings:
            if name not in SETTINGS:
                raise unknown("setting", name, SETTINGS)
        if self.budget not in TEST_EPISODES:
            raise unknown("budget", self.budget, TEST_EPISODES)
        for name in ("methods", "settings", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty, expected one or more")
        refuse_below({"updates": 1, "test_episodes": 2, "validation_episodes": 2}, vars(self))

    @property
    def names(self) -> list[str]:
        """The methods, `all` spelt out."""
        return list(METHODS) if "all" in self.methods else list(dict.fromkeys(self.methods))

    @property
    def test_on(self) -> int:
        """Test episodes."""
        return self.test_episodes or TEST_EPISODES[self.budget]

    @property
    def place(self) -> Path:
        """The results' file without suffix."""
        size = "" if self.image_size is None else f"_{self.image_size}px"
        updates = "" if self.updates is None else f"_{self.updates}updates"
        return Path(self.out) / f"{Path(self.data).name}_{self.budget}{size}{updates}"


@dataclass(frozen=True)
class Job:
    """One training and its evaluation."""

    method: str
    setting: str
    seed: int
    experiment: FewShotExperiment
    config: Any

    @property
    def key(self) -> str:
        """Its name among the results."""
        return f"{self.method}/{self.setting}/seed {self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a run of this job keeps in its config.json."""
        return {"method": self.method, "experiment": to_dict(self.experiment), "config": to_dict(self.config)}


def jobs(benchmark: Benchmark) -> Iterator[Job]:
    """Everything that is to be trained, method by method."""
    root = settled_root(benchmark.data_root)
    for method in benchmark.names:
        for setting in benchmark.settings:
            way, shot = SETTINGS[setting]
            config = preset(method, benchmark.data, way, shot)
            usual = SMALL_UPDATES if benchmark.budget == "small" else PAPER_UPDATES.get(method, PAPER_DEFAULT)
            updates = benchmark.updates or usual
            every = max(1, min(500 if benchmark.budget == "small" else 2_000, updates // 5))
            for seed in benchmark.seeds:
                experiment = FewShotExperiment(
                    data=settled(benchmark.data),
                    way=way,
                    shot=shot,
                    episodes=updates * config.training.tasks,
                    seed=seed,
                    out=str(Path(benchmark.out) / "runs"),
                    device=benchmark.device,
                    evaluate_every=every,
                    checkpoint_every=every,
                    validation_episodes=benchmark.validation_episodes,
                    data_root=root,
                    image_size=benchmark.image_size,
                )
                yield Job(method, setting, seed, experiment, config)
