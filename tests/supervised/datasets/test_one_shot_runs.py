import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.supervised.datasets import one_shot_runs as module
from metarl.supervised.datasets.one_shot_runs import one_shot_runs
from tests.supervised.datasets.pictures import picture, write

REAL = os.environ.get("METARL_DATA")


def ink(drawing):
    """Its pixels, about their middle, (pixels, 2)."""
    points = torch.nonzero(drawing > 0.5).float()
    return points - points.mean(0)


def hausdorff(first, second):
    """Modified Hausdorff distance between two sets of points."""
    squared = torch.addmm(
        first.square().sum(1, keepdim=True), first, second.T, alpha=-2
    ) + second.square().sum(1)
    ways = [squared.min(axis).values.clamp(min=0).sqrt().mean() for axis in (0, 1)]
    return float(max(ways))


@pytest.mark.skipif(
    not (REAL and (Path(REAL) / "omniglot" / "images_evaluation.zip").is_file()),
    reason="METARL_DATA holds no Omniglot",
)
def test_a_distance_errs_about_as_often_as_published_on_the_real_runs():
    """Published are 38.8 %; drawings of full size, 105, give just that, but take half a minute."""
    runs = one_shot_runs(size=53)
    wrong = 0
    for support, query in zip(runs.support[:, :, 0], runs.query[:, :, 0], strict=True):
        known = [ink(each) for each in support]
        found = [np.argmin([hausdorff(ink(each), other) for other in known]) for each in query]
        wrong += sum(place != number for number, place in enumerate(found))
    assert 0.38 < wrong / 400 < 0.44


def shade(run, character, part):
    """Of a drawing, told apart from every other."""
    return 12 * run + character // 2 + (0 if part == "train" else 3)


def listed(root):
    """The list and the characters that it names; tests are in another order than characters."""
    order = np.random.default_rng(0).permutation(20).tolist()
    runs, contents = [], {}
    for run in range(20):
        name = "Alphabet{}/character{:02d}/{}.png".format
        runs.append(
            {
                "train": [name(run, character, "train") for character in range(20)],
                "test": [name(run, character, "test") for character in order],
                "answer": order,
            }
        )
        for character in range(20):
            for part in ("train", "test"):
                picture_ = picture(255 - shade(run, character, part), size=4, mode="L")
                contents[f"images_evaluation/{name(run, character, part)}"] = picture_
    (root / "omniglot").mkdir(exist_ok=True)
    (root / "omniglot" / module.LIST).write_text(json.dumps(runs))
    write(root / "omniglot" / "images_evaluation.zip", contents)


def official(root):
    """The archive, with its labels in an order of its own."""
    order = np.random.default_rng(1).permutation(20).tolist()
    contents = {}
    for run in range(20):
        folder, lines = f"run{run + 1:02d}", []
        for item, character in enumerate(order):
            test, train = (
                f"{folder}/test/item{item + 1:02d}.png",
                f"{folder}/training/class{character + 1:02d}.png",
            )
            lines.append(f"{test} {train}")
            contents[test] = picture(255 - shade(run, character, "test"), size=4, mode="L")
            contents[train] = picture(255 - shade(run, character, "train"), size=4, mode="L")
        contents[f"{folder}/class_labels.txt"] = "\n".join(lines).encode()
    write(root / "all_runs.zip", contents)


@pytest.mark.parametrize("make", [listed, official])
def test_tests_stand_at_their_answers(root, make):
    make(root)
    runs = one_shot_runs(root, size=4, download=False)
    assert runs.support.shape == runs.query.shape == (20, 20, 1, 4, 4)
    assert runs.support_labels.tolist() == runs.query_labels.tolist() == [list(range(20))] * 20
    assert runs.classes.flatten().tolist() == list(range(400))
    for part, images in (("train", runs.support), ("test", runs.query)):
        expected = [[shade(run, character, part) for character in range(20)] for run in range(20)]
        assert (images[:, :, 0, 1, 1] * 255).round().int().tolist() == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda runs: runs.pop(),
        lambda runs: runs[3].pop("answer"),
        lambda runs: runs[3]["answer"].__setitem__(0, 40),
        lambda runs: runs[3]["answer"].__setitem__(0, runs[3]["answer"][1]),
        lambda runs: runs[3]["test"].pop(),
        lambda runs: runs[3]["test"].__setitem__(0, "none"),
    ],
)
def test_a_list_that_is_not_right(root, change):
    listed(root)
    place = root / "omniglot" / module.LIST
    runs = json.loads(place.read_text())
    change(runs)
    place.write_text(json.dumps(runs))
    with pytest.raises(ValueError, match=r"one_shot_runs\.json is broken"):
        one_shot_runs(root)


def test_nothing_there(root):
    with pytest.raises(ValueError, match=r"all_runs\.zip is missing and may not be fetched"):
        one_shot_runs(root, download=False)
