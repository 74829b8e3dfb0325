"""Sine waves: what they are, and that they go the way of the images."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.supervised import datasets, preset, runs
from metarl.supervised.benchmark_plan import Benchmark
from metarl.supervised.evaluation import DRAW, seeded
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.methods import REGRESSION, build
from metarl.supervised.regression import RegressionSampler, Sinusoids


def drawn(split="train", tasks=400, seed=3):
    return RegressionSampler(Sinusoids(split), 5, 3).draw(tasks, torch.Generator().manual_seed(seed))


def test_every_task_is_a_sine_wave_of_the_papers_ranges():
    tasks = type(drawn())(*(each.double() for each in drawn()))
    assert tasks.support.shape == (400, 5, 1)
    assert tasks.query_targets.shape == (400, 3, 1)

    def basis(inputs):
        return torch.cat([inputs.sin(), inputs.cos()], -1)

    found = torch.linalg.lstsq(basis(tasks.support), tasks.support_targets).solution
    torch.testing.assert_close(basis(tasks.query) @ found, tasks.query_targets, rtol=1e-3, atol=1e-3)
    amplitude, phase = found.norm(dim=1).flatten(), torch.atan2(-found[:, 1], found[:, 0]).flatten()
    assert 0.099 < amplitude.min() < 0.3
    assert 4.8 < amplitude.max() < 5.001
    assert -1e-3 < phase.min() < 0.1
    assert 3.0 < phase.max() < torch.pi + 1e-3
    assert amplitude.mean() == pytest.approx(2.55, abs=0.25)
    assert -5 <= tasks.support.min() < -4.9
    assert 4.9 < tasks.query.max() <= 5


def test_a_seed_gives_the_same_waves_but_others_in_every_split():
    for mine, again in zip(drawn(), drawn(), strict=True):
        assert torch.equal(mine, again)
    seen = [drawn(split).support_targets for split in datasets.SPLITS]
    assert not torch.isclose(seen[0], seen[1]).all(1).any()
    assert not torch.isclose(seen[1], seen[2]).all(1).any()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    experiment = FewShotExperiment(
        "sinusoid",
        shot=10,
        episodes=10_000,
        evaluate_every=200,
        checkpoint_every=0,
        out=str(tmp_path_factory.mktemp("runs")),
        device="cpu",
    )
    return runs.train("maml", experiment, quiet=True)


def test_it_learns_to_fit_by_the_same_trainer(trained):
    found = trained.evaluate(episodes=200, query=20, steps=(0, 1, 5))
    errors = [float(each.values.mean()) for each in found.judged.values()]
    assert errors[1] < 0.95 * errors[0]
    assert errors[0] < 4.5  # the variance of the waves: what always answering 0 comes to
    assert found.mean == errors[0]
    with pytest.raises(ValueError, match="no accuracy"):
        _ = found.accuracy
    table = found.table()
    assert "10 support and 20 query points" in table
    assert "mean squared error" in table
    kept = json.loads((trained.path / "evaluation.json").read_text())
    assert kept["summary"][1]["steps"] == 1
    assert kept["summary"][1]["mse"] == pytest.approx(errors[1])
    assert len(kept["squared_errors"]["none, 1 steps"]) == 200


def test_the_state_with_the_lowest_error_is_kept(trained):
    logged = [each for each in trained.run.metrics()["fewshot/mse"] if each == each]
    assert len(logged) == 2
    assert trained.method()[1]["validation_mse"] == min(logged)


def test_what_it_cannot_do_is_said(trained, tmp_path):
    with pytest.raises(ValueError, match="labels no pictures"):
        trained.predict("a", ["b"])
    with pytest.raises(ValueError, match=r"prototypical classifies images.*maml"):
        runs.train("prototypical", FewShotExperiment("sinusoid", out=str(tmp_path)), quiet=True)
    with pytest.raises(ValueError, match="data set of images"):
        Benchmark("sinusoid")


def test_a_method_without_inner_steps_has_none_to_choose(trained, monkeypatch):
    monkeypatch.setattr(trained, "config", preset("prototypical"))
    with pytest.raises(ValueError, match="takes no inner steps"):
        trained.evaluate(steps=(2,))


def test_the_example_of_the_page_learns(capsys):
    page = (Path(__file__).parents[2] / "docs" / "fewshot.md").read_text()
    (example,) = re.findall(r"```python\n(import torch\.nn\.functional.*?)```", page, flags=re.DOTALL)
    torch.manual_seed(0)
    exec(compile(example.replace("20_000", "200"), "fewshot.md", "exec"), {})
    assert float(capsys.readouterr().out) < 2.5  # answering 0 comes to 4.3


@pytest.mark.parametrize("method", REGRESSION)
def test_every_method_that_says_so_fits_waves(method, tmp_path):
    config = preset(method, "sinusoid", 5, 10)
    config = replace(config, training=replace(config.training, tasks=2))
    experiment = FewShotExperiment(
        "sinusoid", shot=10, episodes=4, validation_episodes=4, out=str(tmp_path), device="cpu"
    )
    run = runs.train(method, experiment, config, quiet=True)
    found = run.evaluate(episodes=4)
    assert list(found.judged) == ["none"]
    trained_method, errors = run.method()[0], []
    params = dict(trained_method.module.named_parameters())
    waves = RegressionSampler(Sinusoids("test"), 10, 15).draw(DRAW, seeded(0, 0))
    for place in range(4):
        one = type(waves)(*(each[place] for each in waves))
        answers = trained_method.tested(params, one, config.training.test_statistics)[1].detach()
        errors.append(float((answers - one.query_targets).square().mean()))
    np.testing.assert_allclose(found.first.values, errors, rtol=1e-4)
    logged = run.run.metrics()
    assert logged["train/mse"][-1] == pytest.approx(logged["train/loss"][-1], rel=1e-4)


@pytest.mark.parametrize("name", ["conv4", "resnet12", "wrn-28-10", "koch", "relation"])
def test_networks_for_images_are_refused(name):
    config = preset("maml", "sinusoid", 5, 10)
    config = replace(config, backbone=replace(config.backbone, name=name))
    with pytest.raises(ValueError, match=f"'{name}' is made for images; functions need mlp or identity"):
        build("maml", config, (1,), 1, 1, 10)
