"""A training that starts from another run."""

from dataclasses import replace

import pytest
import torch

from metarl import checkpoints
from metarl.commands import fewshot_train
from metarl.supervised import building, fewshot_run, preset, runs
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.methods.mtl import transferred
from metarl.supervised.training import FewShotTraining
from tests.supervised import front


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(building, "load", front.load_once)
    monkeypatch.setattr(runs, "illustrate", lambda *args: None)


@pytest.fixture
def first_parameters(monkeypatch):
    """Parameters before the first update of every training."""
    seen, collect = [], FewShotTraining.collect

    def looking(self, rng):
        if not self.module.updates:
            seen.append({name: each.clone() for name, each in self.method.module.named_parameters()})
        return collect(self, rng)

    monkeypatch.setattr(FewShotTraining, "collect", looking)
    return seen


def best(run):
    return checkpoints.under("method", checkpoints.load(run.path / "checkpoints" / "best")[0])


def test_it_starts_from_the_best_state_at_other_ways_and_another_seed(tmp_path, first_parameters):
    before = runs.train("prototypical", front.experiment(tmp_path), front.config(), quiet=True)
    experiment = front.experiment(tmp_path, seed=3, way=3, shot=2, start_from=str(before.path))
    runs.train("prototypical", experiment, front.config(way=3), quiet=True)
    fresh, started = first_parameters
    kept = best(before)
    assert all(torch.equal(each, kept[name]) for name, each in started.items())
    assert not all(torch.equal(each, fresh[name]) for name, each in started.items())


def test_it_starts_from_another_method_that_has_all_of_its_parameters(tmp_path, first_parameters):
    usual = preset("classifier-baseline", "strokes", 5, 1)
    config = replace(usual, backbone=front.config().backbone, batch=8)
    before = runs.train("classifier-baseline", front.experiment(tmp_path), config, quiet=True)
    experiment = front.experiment(tmp_path, start_from=str(before.path))
    runs.train("prototypical", experiment, front.config(), quiet=True)
    kept = best(before)
    assert all(torch.equal(each, kept[name]) for name, each in first_parameters[-1].items())
    other = replace(experiment, start_from=str(next((tmp_path / "strokes" / "prototypical").iterdir())))
    with pytest.raises(ValueError, match=r"a run of 'prototypical'.*\n  'head.weight' is missing there"):
        runs.train("classifier-baseline", other, config, quiet=True)


def test_a_training_that_ended_before_its_first_checkpoint_starts_there_again(
    tmp_path, first_parameters, monkeypatch
):
    before = runs.train("prototypical", front.experiment(tmp_path), front.config(), quiet=True)
    monkeypatch.chdir(tmp_path)
    nearby = str(before.path.relative_to(tmp_path))
    experiment = front.experiment(tmp_path / "new", seed=3, start_from=nearby, data_root="data")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "_run", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            runs.train("prototypical", experiment, front.config(), quiet=True)
    (path,) = [each.parent for each in (tmp_path / "new").rglob("run.json")]
    monkeypatch.chdir(path)
    started = runs.resume(path, quiet=True)
    assert started.experiment.data_root == str(tmp_path / "data")
    kept = best(before)
    assert all(torch.equal(each, kept[name]) for name, each in first_parameters[-1].items())


def test_what_does_not_fit_is_refused_before_a_run_is_made(tmp_path):
    before = runs.train("prototypical", front.experiment(tmp_path), front.config(), quiet=True)
    experiment = front.experiment(tmp_path / "new", start_from=str(before.path))
    wide = front.config()
    with pytest.raises(ValueError, match=r"another backbone: say --backbone.channels 4, or"):
        runs.train(
            "prototypical", experiment, replace(wide, backbone=replace(wide.backbone, channels=8)), quiet=True
        )
    with pytest.raises(ValueError, match="not a run"):
        runs.train("prototypical", replace(experiment, start_from=str(tmp_path)), wide, quiet=True)
    assert not (tmp_path / "new").exists()


def test_heads_of_other_ways_are_named(tmp_path):
    usual = preset("maml", "strokes", 5, 1)
    config = replace(
        usual,
        backbone=replace(usual.backbone, channels=4),
        inner=replace(usual.inner, steps=1),
        training=replace(usual.training, tasks=2),
    )
    before = runs.train("maml", front.experiment(tmp_path, episodes=4), config, quiet=True)
    experiment = front.experiment(tmp_path, way=3, start_from=str(before.path))
    with pytest.raises(
        ValueError, match=r"--start-with backbone .*\n.*'head.weight' has shape \(5, 4\) there, \(3, 4\) here"
    ):
        runs.train("maml", experiment, config, quiet=True)


def test_heads_that_inner_loops_set_to_zero_need_not_fit(tmp_path, first_parameters):
    config = replace(maml_plus_plus(), zero_head=True)
    before = runs.train("maml++", front.experiment(tmp_path, episodes=4), config, quiet=True)
    experiment = front.experiment(tmp_path, way=3, episodes=4, start_from=str(before.path))
    runs.train("maml++", experiment, config, quiet=True)
    first, kept = first_parameters[-1], best(before)
    assert first["head.weight"].shape == (3, 4)
    others = [name for name in first if not name.startswith("head.")]
    assert any(name.startswith("rule.lr.head.") for name in others)
    assert all(torch.equal(first[name], kept[name]) for name in others)


def test_it_starts_with_the_backbone_alone_of_any_method(tmp_path, first_parameters):
    before = runs.train("prototypical", front.experiment(tmp_path), front.config(), quiet=True)
    config = preset("maml", "strokes", 3, 1)
    config = replace(config, backbone=front.config().backbone, training=replace(config.training, tasks=2))
    experiment = front.experiment(tmp_path, way=3, episodes=4)
    runs.train("maml", experiment, config, quiet=True)
    started = replace(experiment, start_from=str(before.path), start_with="backbone")
    runs.train("maml", started, config, quiet=True)
    (_, fresh, first), kept = first_parameters, best(before)
    for name, each in first.items():
        assert torch.equal(each, kept[name] if name.startswith("net.") else fresh[name])
    assert {name.split(".")[0] for name in first} == {"net", "head"}


def maml_plus_plus():
    usual = preset("maml++", "strokes", 5, 1)
    return replace(
        usual,
        backbone=front.config().backbone,
        inner=replace(usual.inner, steps=2, test_steps=2),
        training=replace(usual.training, tasks=2, lr=0.1),
    )


def norm_entries(params, prefix):
    """Names of scales and shifts, layer by layer."""
    found = [name for name in params if name.startswith(prefix) and name.endswith(("weight", "bias"))]
    norms = sorted(name for name in found if "conv" not in name)
    assert norms
    return norms


def test_every_inner_step_of_maml_plus_plus_starts_with_the_norms_of_the_backbone(tmp_path, first_parameters):
    before = runs.train("prototypical", front.experiment(tmp_path), front.config(), quiet=True)
    experiment = front.experiment(
        tmp_path, episodes=4, start_from=str(before.path), start_with="backbone", evaluate_every=1
    )
    runs.train("maml++", experiment, maml_plus_plus(), quiet=True)
    first, kept = first_parameters[-1], best(before)
    norms = norm_entries(kept, "net.")
    assert all(kept[name].std() > 0 for name in norms)
    for step in (0, 1):
        entries = norm_entries(first, f"norms.layers.{step}.")
        assert all(torch.equal(first[own], kept[name]) for own, name in zip(entries, norms, strict=True))


@pytest.mark.parametrize("which", ["backbone", "all"])
def test_the_norms_of_the_last_inner_step_go_with_the_backbone(which, tmp_path, first_parameters):
    before = runs.train("maml++", front.experiment(tmp_path, episodes=8), maml_plus_plus(), quiet=True)
    experiment = front.experiment(tmp_path, start_from=str(before.path), start_with=which)
    runs.train("prototypical", experiment, front.config(), quiet=True)
    first, kept = first_parameters[-1], best(before)
    last = norm_entries(kept, "norms.layers.1.")
    for name, other in zip(norm_entries(first, "net."), last, strict=True):
        assert torch.equal(first[name], kept[other])
        assert not torch.equal(kept[other], kept[name])


def test_kernels_that_mtl_does_not_train_come_from_another_run(tmp_path):
    before = runs.train("prototypical", front.experiment(tmp_path), front.config(), quiet=True)
    usual = preset("mtl", "strokes", 5, 1)
    config = replace(
        usual,
        backbone=front.config().backbone,
        training=replace(usual.training, tasks=2, query=2),
        pretraining=replace(usual.pretraining, share=0.0),
    )
    experiment = front.experiment(tmp_path, episodes=4)
    with pytest.raises(ValueError, match=r"as they are drawn, untrained.* --start-with backbone"):
        runs.train("mtl", experiment, config, quiet=True)
    assert not (tmp_path / "strokes" / "mtl").exists()
    started = replace(experiment, start_from=str(before.path), start_with="backbone")
    run = runs.train("mtl", started, config, quiet=True)
    after = best(run)
    kernels = [name for name in after if name.startswith("net.") and after[name].dim() == 4]
    assert all(torch.equal(after[name], best(before)[name]) for name in kernels)
    assert kernels
    assert any(each.any() for name, each in after.items() if name.startswith("factors."))


def test_the_backbone_of_mtl_goes_with_its_factors_and_shifts(tmp_path, first_parameters):
    usual = preset("mtl", "strokes", 5, 1)
    config = replace(
        usual,
        backbone=front.config().backbone,
        training=replace(usual.training, tasks=2, query=2, lr=0.1),
        pretraining=replace(usual.pretraining, batch=4),
    )
    before = runs.train("mtl", front.experiment(tmp_path, episodes=8), config, quiet=True)
    experiment = front.experiment(tmp_path, start_from=str(before.path), start_with="backbone")
    runs.train("prototypical", experiment, front.config(), quiet=True)
    started, kept = first_parameters[-1], best(before)
    used = transferred(kept)
    assert all(torch.equal(each, used[name]) for name, each in started.items())
    kernel = next(name for name in started if name.endswith("conv.weight"))
    assert (started[kernel] - kept[kernel]).abs().max() > 1e-3


def test_the_posteriors_of_mlap_start_around_the_backbone(tmp_path, first_parameters):
    before = runs.train("prototypical", front.experiment(tmp_path), front.config(), quiet=True)
    config = replace(
        preset("mlap", "strokes", 5, 1), backbone=front.config().backbone, tasks=2, samples=1, test_steps=2
    )
    experiment = front.experiment(tmp_path, episodes=2, start_from=str(before.path), start_with="backbone")
    run = runs.train("mlap", experiment, config, quiet=True)
    judged = run.evaluate(episodes=2, steps=(0, 1)).judged
    assert {each.steps for each in judged.values()} == {0, 1}
    started, kept = first_parameters[-1], best(before)
    names = [name for name in started if name.startswith("net.")]
    assert names
    for name in names:
        assert torch.equal(started[name], kept[name])
        assert all(torch.equal(row, kept[name]) for row in started[f"posterior.mean.{name}"])


def test_leo_on_the_frozen_backbone_of_another_run(tmp_path):
    net = replace(front.config().backbone, channels=32)
    metric = replace(front.config(), backbone=net)
    before = runs.train("prototypical", front.experiment(tmp_path), metric, quiet=True)
    usual = preset("leo", "strokes", 5, 1)
    config = replace(
        usual,
        backbone=net,
        latent=4,
        hidden=4,
        training=replace(usual.training, tasks=2, query=2),
        pretraining=replace(usual.pretraining, share=0.0),
    )
    experiment = front.experiment(tmp_path, episodes=4)
    with pytest.raises(ValueError, match=r"as it is drawn, untrained.* --start-with backbone"):
        runs.train("leo", experiment, config, quiet=True)
    started = replace(experiment, start_from=str(before.path), start_with="backbone")
    run = runs.train("leo", started, config, quiet=True)
    after, kept = best(run), best(before)
    names = [name for name in after if name.startswith("net.") and "running" not in name]
    assert all(torch.equal(after[name], kept[name]) for name in names if name in kept)
    with pytest.raises(ValueError, match=r"as many as in training; leave out steps=3"):
        run.evaluate(episodes=2, steps=(3,))


def test_a_run_without_validation_is_started_from_without_its_data(tmp_path, first_parameters, monkeypatch):
    experiment = replace(front.experiment(tmp_path), evaluate_every=0)
    before = runs.train("prototypical", experiment, front.config(), quiet=True)
    (before.path / "checkpoints" / "best.json").unlink(missing_ok=True)
    newest = checkpoints.under("module.method", checkpoints.load(before.run.newest_checkpoint())[0])
    monkeypatch.setattr(fewshot_run, "load_split", lambda *args: 1 / 0)
    started = before.trained_parameters()
    assert all(torch.equal(each, newest[name]) for name, each in started.items())


def test_what_to_start_with_needs_a_run_and_a_name_that_is_known():
    with pytest.raises(ValueError, match=r"start_with='backbone' needs a run to start from"):
        FewShotExperiment(data="strokes", start_with="backbone")
    with pytest.raises(ValueError, match=r"unknown start_with 'backbon': did you mean 'backbone'\?"):
        FewShotExperiment(data="strokes", start_from="run", start_with="backbon")


def test_the_command_says_what_is_wrong(tmp_path):
    words = [
        "prototypical",
        "--data",
        "strokes",
        "--out",
        str(tmp_path),
        "--start-from",
        str(tmp_path / "nowhere"),
    ]
    with pytest.raises(ValueError, match=r"nowhere.* not a run"):
        fewshot_train.train(words)
