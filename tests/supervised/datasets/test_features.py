"""Features that were computed before: every kind of file gives the same, and no code in any is run."""

import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from metarl import cli
from metarl.configs import read_json
from metarl.supervised import preset, runs
from metarl.supervised.class_store import ClassStore
from metarl.supervised.classification import draw_batch
from metarl.supervised.datasets import SPLITS, characters, holds_features, load
from metarl.supervised.datasets.features import load as load_features
from metarl.supervised.episodes import EpisodeSampler
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.latent_codes import scores_of
from metarl.supervised.methods import build
from metarl.supervised.methods.leo import inner_loop
from metarl.supervised.presets.pretraining import Pretraining

TABLE = np.arange(15, dtype=np.float32).reshape(5, 3) - 4
CLASSES = ["n02", "n01", "n02", "n01", "n02"]
KEYS = [f"{place:08d}-{name}-{name}_{place}.JPEG" for place, name in enumerate(CLASSES)]
PYTHON_2 = (
    b"\x80\x02}(U\x04keys]U\x09one-n01-aaU\nembeddingscnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
    b"U\x01b\x87R(K\x01K\x01K\x02\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff"
    b"\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00\xc0tbu."
)
"""{'keys': ['one-n01-aa'], 'embeddings': array([[1, -2]], float32)} as Python 2 would write it."""


def by_class():
    return {name: TABLE[[each == name for each in CLASSES]] for name in ("n02", "n01")}


def dumped(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))


FILES = {
    "authors' pickle": lambda f: dumped(f / "train_embeddings.pkl", {"embeddings": TABLE, "keys": KEYS}),
    "bytes as keys": lambda f: dumped(
        f / "train_embeddings.pkl", {"embeddings": TABLE, "keys": [each.encode() for each in KEYS]}
    ),
    "pickle with labels": lambda f: dumped(f / "train.pickle", {"features": TABLE, "labels": CLASSES}, 5),
    "npz": lambda f: np.savez(f / "train.npz", features=TABLE, labels=np.array(CLASSES)),
    "npz by class": lambda f: np.savez(f / "train_features.npz", **by_class()),
    "safetensors by class": lambda f: save_file(by_class(), f / "train.safetensors"),
    "float64": lambda f: np.savez(f / "train.npz", embeddings=TABLE.astype(float), labels=np.array(CLASSES)),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_gives_the_same_features(kind, tmp_path):
    FILES[kind](tmp_path)
    assert holds_features(str(tmp_path))
    store = load(str(tmp_path), "train")
    assert store.names == ["n01", "n02"]
    assert store.starts.tolist() == [0, 2, 5]
    assert store.image == (3, 1, 1)
    assert not store.has_pictures
    assert torch.equal(store.images.flatten(1), torch.from_numpy(TABLE[[1, 3, 0, 2, 4]]))
    assert torch.equal(
        store.pictures(torch.tensor([[4], [0]])).flatten().reshape(2, 3), torch.from_numpy(TABLE[[4, 1]])
    )


def test_numbers_as_labels_keep_their_order(tmp_path):
    save_file({"features": TABLE, "labels": np.array([10, 9, 10, 2, 10])}, tmp_path / "test.safetensors")
    store = load(str(tmp_path), "test")
    assert store.starts.tolist() == [0, 1, 2, 5]
    assert torch.equal(store.images[:2, :, 0, 0], torch.from_numpy(TABLE[[3, 1]]))


def test_what_python_2_wrote_is_read(tmp_path):
    (tmp_path / "val_embeddings.pkl").write_bytes(PYTHON_2)
    store = load(str(tmp_path), "validation")
    assert store.names == ["n01"]
    assert store.images.flatten().tolist() == [1.0, -2.0]


class Asks:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    dumped(tmp_path / "train.pkl", {"embeddings": TABLE, "keys": KEYS, "more": Asks(tmp_path / "made")})
    with pytest.raises(ValueError, match="could run code"):
        load(str(tmp_path), "train")
    assert not (tmp_path / "made").exists()


def test_objects_in_an_npz_are_refused_and_not_run(tmp_path):
    harm = np.empty(1, dtype=object)
    harm[0] = Asks(tmp_path / "made")
    np.savez(tmp_path / "train.npz", features=TABLE, labels=harm)
    with pytest.raises(ValueError, match="no code in it is run"):
        load(str(tmp_path), "train")
    assert not (tmp_path / "made").exists()


def test_features_of_half_precision_are_read(tmp_path):
    for place, split in enumerate(SPLITS):
        tensors = {"features": torch.tensor(TABLE).bfloat16(), "labels": torch.arange(5) + 5 * place}
        save_tensors(tensors, tmp_path / f"{split}.safetensors")
    store = load(str(tmp_path), "train")
    assert torch.equal(store.images.flatten(1), torch.tensor(TABLE))


def test_a_damaged_npz_is_an_error_of_one_line(tmp_path):
    np.savez(tmp_path / "train.npz", features=TABLE, labels=np.array(CLASSES))
    content = (tmp_path / "train.npz").read_bytes()
    (tmp_path / "train.npz").write_bytes(content.replace(b"'shape': (5, 3)", b"'shape': (5, 3["))
    with pytest.raises(ValueError, match=r"cannot be read as \.npz"):
        load(str(tmp_path), "train")


def spoiled(place, value):
    table = TABLE.copy()
    table[place] = value
    return table


MISTAKES = {
    "no such split": (
        lambda f: np.savez(f / "test.npz", **by_class()),
        r"none of the train classes.*train\.npz",
    ),
    "keys of another form": (
        lambda f: dumped(f / "train.pkl", {"embeddings": TABLE, "keys": ["a-b"] * 5}),
        '"a-b", expected "image-class-file"',
    ),
    "neither keys nor labels": (
        lambda f: dumped(f / "train.pkl", {"embeddings": TABLE, "names": KEYS}),
        r"\['embeddings', 'names'\], expected `embeddings` and `keys`",
    ),
    "no dict": (lambda f: dumped(f / "train.pkl", [TABLE]), "holds a list, expected a dict"),
    "fewer labels": (
        lambda f: np.savez(f / "train.npz", features=TABLE, labels=np.arange(4)),
        "5 features need as many classes, got 4",
    ),
    "images": (
        lambda f: np.savez(f / "train.npz", features=np.zeros((2, 3, 3)), labels=np.arange(2)),
        r"shape \(n, D\), got float64 \(2, 3, 3\)",
    ),
    "texts": (
        lambda f: np.savez(f / "train.npz", features=np.array([["a"]]), labels=np.arange(1)),
        r"must be numbers",
    ),
    "classes of different widths": (
        lambda f: np.savez(f / "train.npz", a=TABLE, b=TABLE[:, :2]),
        r"same D, got a \(5, 3\), b \(5, 2\)",
    ),
    "not finite": (
        lambda f: np.savez(f / "train.npz", features=spoiled((3, 1), np.inf), labels=np.arange(5)),
        "1 features are not finite, the first in row 3",
    ),
    "broken npz": (lambda f: (f / "train.npz").write_bytes(b"PK no"), r"cannot be read as \.npz"),
    "broken safetensors": (
        lambda f: (f / "train.safetensors").write_bytes(b"no"),
        r"cannot be read as \.safetensors",
    ),
    "broken pickle": (lambda f: (f / "train.pkl").write_bytes(b"\x80\x02}"), "is broken"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake, tmp_path):
    make, message = MISTAKES[mistake]
    make(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path), "train")


def test_features_have_no_size(tmp_path):
    with pytest.raises(ValueError, match="image_size=20"):
        load_features(str(tmp_path), "train", tmp_path, 20)


def test_images_that_are_no_bytes_are_refused_unless_they_are_features():
    with pytest.raises(ValueError, match=r"uint8 .* or features float32"):
        ClassStore(torch.zeros(2, 3, 4, 4), torch.tensor([0, 2]), ["a"])


@pytest.fixture
def folder(tmp_path):
    """Classes of 9 points around centres, 6 numbers each, some in each kind of file."""
    draw = np.random.default_rng(0)

    def classes(number):
        centres = draw.normal(size=(number, 1, 6))
        return (centres + 0.2 * draw.normal(size=(number, 9, 6))).astype(np.float32)

    found = tmp_path / "points"
    found.mkdir()
    train, validation, test = classes(8), classes(4), classes(5)
    keys = [f"x-n{name}-{place}.png" for name in range(8) for place in range(9)]
    dumped(found / "train_embeddings.pkl", {"embeddings": train.reshape(-1, 6), "keys": keys})
    save_file({f"v{name}": each for name, each in enumerate(validation)}, found / "val.safetensors")
    np.savez(found / "test.npz", features=test.reshape(-1, 6), labels=np.arange(5).repeat(9))
    return found


def test_leo_has_no_network_where_features_are_supplied(folder):
    assert preset("leo", "mini-imagenet").pretraining.share == 0.5
    config = preset("leo", str(folder))
    assert (config.backbone.name, config.pretraining.share) == ("identity", 0.0)
    store = load(str(folder), "train")
    torch.manual_seed(0)
    method = build("leo", config, store.image, store.num_classes, 3, 2)
    params = dict(method.module.named_parameters())
    assert all(name.startswith(("codec.", "rule.")) for name in params)
    one = type(drawn := EpisodeSampler(store, 3, 2, 2).draw(1, torch.Generator().manual_seed(0)))(
        *(each[0] for each in drawn)
    )
    support, query = (each[:, :, 0, 0] for each in (one.support, one.query))
    support, query = (each / each.square().sum(1, keepdim=True).sqrt() for each in (support, query))
    fast, _ = inner_loop(config, params, support, one.support_labels, 3)
    scores = method.task(params, one, "running")[1]
    torch.testing.assert_close(scores, scores_of(query, fast["weights"]))


def test_a_network_that_is_none_is_not_pre_trained(folder):
    config = preset("leo", str(folder))
    with pytest.raises(ValueError, match=r"pretraining.share=0, got 0\.5"):
        build("leo", type(config)(config.backbone, pretraining=Pretraining(0.5)), (6, 1, 1), 8, 3, 1)


@pytest.mark.parametrize("name", ["points", "omniglot-features"])
def test_features_are_never_changed_like_images(folder, name, tmp_path):
    folder = folder.rename(folder.with_name(name))
    assert preset("classifier-baseline", str(folder)).augment == "none"
    for method in ("leo", "mtl", "meta-baseline"):
        assert preset(method, str(folder)).pretraining.augment == "none"
    store = load(str(folder), "train")
    generator = torch.Generator().manual_seed(0)
    drawn = draw_batch(store, generator, 0.0, batch=4, augment="none").images
    assert all((store.images == each).flatten(1).all(1).any() for each in drawn)
    with pytest.raises(ValueError, match=r"augment='crop' changes images, but the data are features: take"):
        draw_batch(store, generator, 0.0, batch=4, augment="crop")


@pytest.mark.parametrize("name", ["omniglot-mine", "strokes2"])
def test_a_folder_is_not_of_characters_for_its_name(name):
    assert not characters(name)
    assert characters("omniglot-lake")


def test_leo_is_trained_and_judged_on_features_from_the_command_line(folder, tmp_path, capsys):
    out = tmp_path / "runs"
    flags = (
        "--way 3 --shot 1 --query 4 --episodes 24 --training.tasks 4 --training.query 3 --evaluate-every 3"
    )
    less = "--latent 4 --hidden 8 --steps 2 --finetuning-steps 2 --validation-episodes 6 --training.lr 0.01 --quiet"
    arguments = [
        "fewshot",
        "train",
        "leo",
        "--data",
        str(folder),
        "--out",
        str(out),
        *flags.split(),
        *less.split(),
    ]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "judge it" in said
    assert "ask it" not in said
    (path,) = [each.parent for each in out.rglob("run.json")]
    assert path.parent.parent.name == "points"
    assert read_json(path / "config.json")["image"] == [6, 1, 1]
    run = runs.open_run(path)
    before = build("leo", run.config, (6, 1, 1), 8, 3, 1).module.state_dict()
    after = run.method()[0].module.state_dict()
    assert before.keys() == after.keys()
    found = run.evaluate(episodes=20, query=5)
    assert list(found.judged) == ["none"]
    assert found.accuracy > 0.55  # points of one class lie together: 1/3 would be chance
    with pytest.raises(ValueError, match="knows features only"):
        run.predict("a", ["b"])


def test_splits_of_different_widths_are_refused(folder, tmp_path):
    np.savez(folder / "val.npz", **{f"v{name}": np.zeros((9, 5)) for name in range(4)})
    (folder / "val.safetensors").unlink()
    with pytest.raises(
        ValueError, match=r"the validation split has inputs of shape \(5, 1, 1\).*\(6, 1, 1\)"
    ):
        runs.train("leo", FewShotExperiment(str(folder), way=3, out=str(tmp_path), device="cpu"), quiet=True)


@pytest.mark.parametrize(
    "method",
    ["maml", "fomaml", "reptile", "anil", "meta-sgd", "maml++", "meta-curvature", "meta-lstm"],
)
def test_a_network_without_parameters_leaves_the_head_to_adapt(folder, method):
    store = load(str(folder), "train")
    config = preset(method, "omniglot", 3, 2)
    config = replace(
        config,
        backbone=replace(config.backbone, name="identity"),
        inner=replace(config.inner, test_steps=1),
    )
    made = build(method, config, store.image, store.num_classes, 3, 2)
    drawn = EpisodeSampler(store, 3, 2, 2).draw(1, torch.Generator().manual_seed(0))
    one = type(drawn)(*(each[0] for each in drawn))
    params = dict(made.module.named_parameters())
    loss, scores = made.task(params, one, "transductive")
    assert scores.shape == (6, 3)
    (gradient,) = torch.autograd.grad(loss, [params["head.weight"]])
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("method", ["t-net", "geodesic"])
def test_methods_about_layers_refuse_a_network_without(folder, method):
    store = load(str(folder), "train")
    config = preset(method, "omniglot", 3, 2)
    none = replace(config, backbone=replace(config.backbone, name="identity"))
    with pytest.raises(ValueError, match=f"{method} is about layers.*--backbone.name mlp"):
        build(method, none, store.image, store.num_classes, 3, 2)
    head = replace(config, inner=replace(config.inner, adapted="head"))
    with pytest.raises(ValueError, match="only the head would adapt"):
        build(method, head, (1, 28, 28), 8, 3, 2)
    layers = replace(config, backbone=replace(config.backbone, name="mlp"))
    assert build(method, layers, store.image, store.num_classes, 3, 2)


def test_methods_made_of_convolutions_say_so(folder):
    store = load(str(folder), "train")
    for method, message in (("mtl", "no convolutions"), ("relation", "relation network compares maps")):
        config = preset(method, "omniglot", 3, 2)
        config = replace(config, backbone=replace(config.backbone, name="mlp"))
        with pytest.raises(ValueError, match=message):
            build(method, config, store.image, store.num_classes, 3, 2)
