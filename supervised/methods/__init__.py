"""Few-shot methods by name. Torch is imported when one is built."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from metarl.names import unknown

if TYPE_CHECKING:
    from metarl.supervised.methods.method import Method

METHODS: dict[str, str] = {
    "siamese": "Siamese network: whether two pictures show the same (Koch et al. 2015)",
    "triplet": "Triplet network: nearer to the same class than to another (Hoffer and Ailon 2015)",
    "matching": "Matching networks: attention over the support (Vinyals et al. 2016)",
    "prototypical": "Prototypical networks: the nearest class mean (Snell et al. 2017)",
    "gaussian-prototypical": "Gaussian prototypical networks: class means weighted by certainty (Fort 2017)",
    "relation": "Relation network: a learned comparison of feature maps (Sung et al. 2018)",
    "tadam": "TADAM: scaled metric and features conditioned on the task (Oreshkin et al. 2018)",
    "classifier-baseline": "Classifier-Baseline: trained on all classes, then nearest mean by cosine (Chen et al. 2021)",
    "meta-baseline": "Meta-Baseline: the same, then trained on episodes (Chen et al. 2021)",
    "maml": "MAML: a start from which a few gradient steps learn a task (Finn et al. 2017)",
    "fomaml": "First-order MAML: the same without second derivatives (Finn et al. 2017)",
    "reptile": "Reptile: moves towards where plain training on a task leads (Nichol et al. 2018)",
    "anil": "ANIL: MAML whose head alone adapts; NIL, without a head, by --test nil (Raghu et al. 2020)",
    "meta-sgd": "Meta-SGD: MAML with a learned step size for every weight (Li et al. 2017)",
    "maml++": "MAML++: six changes that make MAML's training steadier (Antoniou et al. 2019)",
    "cavia": "CAVIA: one network for all tasks, of which a context vector alone adapts (Zintgraf et al. 2019)",
    "mtl": "MTL: scales and shifts of a frozen network, and hard tasks (Sun et al. 2019)",
    "meta-curvature": "Meta-Curvature: MAML with learned matrices on the gradient (Park and Oliva 2019)",
    "t-net": "T-Net, MT-Net: MAML with a learned metric and subspace of layers (Lee and Choi 2018)",
    "geodesic": "MAML whose inner steps turn the matrices of layers and never stretch them (no paper's method)",
    "meta-lstm": "LSTM meta-learner: a learned optimiser takes the steps (Ravi and Larochelle 2017)",
    "leo": "LEO: gradient steps in a space of codes of classifiers (Rusu et al. 2019)",
    "versa": "VERSA: distributions of classifiers, inferred in one pass (Gordon et al. 2019)",
    "mlap": "MLAP: a prior of all weights, learned by a PAC-Bayes bound (Amit and Meir 2018)",
    "nearest-centroid": "Nearest class mean of pixels: the floor, nothing is trained",
}
"""Every method's name and what it is, in one line."""
REGRESSION = (
    *("maml", "fomaml", "reptile", "anil", "meta-sgd", "maml++", "cavia"),
    *("meta-curvature", "t-net", "geodesic", "meta-lstm"),
)
"""Those that can also fit functions (`--data sinusoid`)."""


def preset(name: str, data: str = "omniglot", way: int = 5, shot: int = 1) -> Any:
    """The configuration of a method's paper, as far as it goes.

    Args:
        name: A key of `METHODS`.
        data: What it is trained on.
        way: Classes of an episode in testing.
        shot: Support images of each class in testing.

    Returns:
        A frozen dataclass with `backbone`, `training` and fields of the method's own.

    Raises:
        ValueError: There is no such method; the message names the nearest.
    """
    return import_module(f"metarl.supervised.presets.{_file(name)}").config_for(data, way, shot)


def build(name: str, config: Any, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """A method with fresh parameters.

    Args:
        name: A key of `METHODS`.
        config: What `preset` gave, or a change of it.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; the method can do with others.
        shot: Support images of each class, likewise.

    Raises:
        ValueError: There is no such method, the configuration does not fit the images, or the method cannot do
            regression.
    """
    if len(image) == 1 and name not in REGRESSION:
        raise ValueError(f"{name} classifies images and cannot fit functions; {', '.join(REGRESSION)} can")
    module = import_module(f"metarl.supervised.methods.{_file(name)}")
    return module.build(config, image, classes, way, shot)


def _file(name: str) -> str:
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return name.replace("-", "_").replace("++", "_plus_plus")
