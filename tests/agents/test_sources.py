"""What training starts from goes on acting and valuing as it did, or is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metarl.agents import experiments, preset
from metarl.agents.experiment import Experiment
from metarl.agents.experiments import resume, train
from metarl.agents.meta_parameters import MetaParameters
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining
from metarl.agents.sb3_memory import MemoryTraining
from metarl.agents.sb3_ppo import PPOTraining
from metarl.agents.sources import manner_of
from metarl.agents.starting import start_from
from metarl.configs import to_dict

WORLD, SUMO = "metarl/HexapodLegFailure-v0", "metarl/RoboSumo-Ant-vs-Ant-v0"
CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")


def small_ppo(**changes):
    small = {"environments": 4, "horizon": 20, "batch_size": 40, "epochs": 2, "hidden": (16, 8)}
    return replace(preset("ppo"), **small | changes)


def memory(**changes):
    small = {"environments": 2, "horizon": 12, "batch_size": 24, "unroll": 6, "memory": 5, "hidden": (7,)}
    return replace(preset("recurrent-ppo"), epochs=1, **small | {"activation": "relu"} | changes)


def meta(policy=(), **sampling):
    config = preset("continuous-adaptation")
    sampling = replace(config.sampling, tasks=2, trajectories=2, horizon=20, **sampling)
    policy = replace(config.policy, **{"hidden": (16, 8), "context_size": 0} | dict(policy))
    return replace(config, policy=policy, sampling=sampling)


def made(agent, config, tmp_path, world=WORLD, **more):
    experiment = Experiment(world, steps=1, out=str(tmp_path), evaluate_every=0, **more)
    return train(agent, experiment, config, quiet=True)


def build(config, world=WORLD, **options):
    experiment = Experiment(world, steps=1, world_options=options)
    if config.__class__ is preset("ppo").__class__:
        return PPOTraining(experiment, config, CPU)
    if config.__class__ is preset("rl2").__class__:
        return MemoryTraining(experiment, config, CPU)
    return MetaPolicyGradientTraining(world, config, world_options=options)


def begin(training, path, world=WORLD, **options):
    start_from(training, Experiment(world, steps=1, start_from=str(path), world_options=options))
    return training.module


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def walker(tmp_path_factory):
    return made("ppo", small_ppo(), tmp_path_factory.mktemp("walker"))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A meta-policy whose raw standard deviations lie below the bound on them, where training can bring them."""
    out = tmp_path_factory.mktemp("adapted")
    config = meta({"initial_std": 0.03, "minimum_std": 0.1}, discount=0.9, reward_scale=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "_refuse_first_std", lambda config: None)
        return made("continuous-adaptation", config, out)


def obs(number=5):
    return torch.randn(number, 37, generator=torch.Generator().manual_seed(0))


def values(module):
    if isinstance(module, MetaParameters):
        return module.value(obs().unsqueeze(0))[0]
    return module.predict_values(obs())


@pytest.mark.parametrize("make", [meta, small_ppo])
def test_values_are_brought_to_the_scale_of_its_rewards(walker, make):
    def said(scale):
        config = meta(reward_scale=scale) if make is meta else small_ppo(reward_scale=scale)
        return values(begin(build(config), walker.path))

    assert said(1.0).abs().min() > 0
    torch.testing.assert_close(said(0.25), said(1.0) / 4)


def test_values_of_a_meta_policy_do_not_depend_on_its_unit(adapted):
    """Under another discount the network's numbers are multiples of another effective horizon: 10 steps, and 20."""
    same, other = (begin(build(meta(discount=d, reward_scale=0.5)), adapted.path) for d in (0.9, 0.99))
    assert (same.value.unit, other.value.unit) == (pytest.approx(10), 20)
    torch.testing.assert_close(values(other), values(same))
    doubled = begin(build(meta(discount=0.9, reward_scale=1.0)), adapted.path)
    torch.testing.assert_close(values(doubled), 2 * values(same))


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        (replace(preset("ppo"), reward_scale=0.2), 0.2),
        (replace(preset("rl2"), reward_scale=0.3), 0.3),
        (meta(reward_scale=0.4), 0.4),
        (preset("self-play"), 0.01),
        (replace(preset("self-play"), body="lstm", recurrent=memory(reward_scale=0.5)), 0.5),
    ],
)
def test_every_agent_has_a_scale_of_rewards(config, scale):
    assert manner_of(to_dict(config), horizon=20).reward_scale == scale


def test_a_meta_policy_that_would_be_noisier_is_refused(walker):
    std = float(walker.agent.policy.log_std.detach().exp().min())
    with pytest.raises(ValueError, match=r"deviations down to 0\.\d+.*policy\.minimum_std=.*set that to"):
        begin(build(meta({"minimum_std": 2 * std})), walker.path)


def test_a_meta_policy_acts_with_the_noise_that_the_other_had(adapted):
    """Not with the number that its bound hid."""
    module = begin(build(meta({"minimum_std": 0.01})), adapted.path)
    torch.testing.assert_close(module.policy(obs())[1].exp(), torch.full((5, 12), 0.1))
    with pytest.raises(ValueError, match=r"deviations down to 0\.1, .*minimum_std=0\.2: set that to 0\.05"):
        begin(build(meta({"minimum_std": 0.2})), adapted.path)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"activation": "relu"}, r"policy\.activation=tanh, which is relu here: set it to tanh"),
        ({"normalize_observations": False}, r"policy\.normalize_observations=True, which is False here"),
        ({"spread": "network"}, r"policy\.spread=parameter, which is network here"),
    ],
)
def test_networks_of_another_kind_are_refused(walker, adapted, policy, reason):
    for start in (walker, adapted):
        with pytest.raises(ValueError, match=reason):
            begin(build(meta({"minimum_std": 0.01, **policy})), start.path)


def test_memories_of_another_kind_are_refused(tmp_path):
    run = made("recurrent-ppo", memory(), tmp_path)
    with pytest.raises(ValueError, match="trained with activation=relu, which is tanh here"):
        begin(build(memory(activation="tanh")), run.path)
    deep = made("recurrent-ppo", memory(hidden=(7, 7)), tmp_path / "deep")
    with pytest.raises(ValueError, match="`recurrent-ppo --activation relu` with one layer"):
        begin(build(meta({"body": "lstm", "hidden": (7, 5)})), deep.path)


def test_a_run_in_another_frame_is_refused(tmp_path):
    run = made("ppo", small_ppo(horizon=4), tmp_path, SUMO, world_options={"canonical": True})
    for config in (small_ppo(horizon=4), memory(horizon=4)):
        with pytest.raises(ValueError, match="train with the world option canonical=true"):
            begin(build(config, SUMO), run.path, SUMO)


def test_what_holds_no_agent_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="run"):
        begin(build(small_ppo()), tmp_path)


def test_an_imitation_goes_on_without_its_teacher_s_run(walker, tmp_path):
    """Exactly, though that has learned on or is no more; from one with memory nothing is read again either."""
    steps = 2 * 12 * 7
    teacher = made("ppo", small_ppo(), tmp_path / "teacher")
    more = {"start_from": str(teacher.path), "checkpoint_every": 1}
    config = memory(imitation=2, episodes=1)
    whole = train(
        "recurrent-ppo",
        Experiment(WORLD, steps=3 * steps, out=str(tmp_path / "a"), evaluate_every=0, **more),
        config,
        quiet=True,
    )
    part = train(
        "recurrent-ppo",
        Experiment(WORLD, steps=steps, out=str(tmp_path / "b"), evaluate_every=0, **more),
        config,
        quiet=True,
    )
    second = made("recurrent-ppo", config, tmp_path / "c", start_from=str(whole.path))
    resume(teacher.path, steps=320, quiet=True)
    resumed = resume(part.path, steps=3 * steps, quiet=True)
    wanted = dict(whole.agent.policy.named_parameters())
    for name, value in resumed.agent.policy.named_parameters():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)
    np.testing.assert_array_equal(
        resumed.run.metrics()["train/n_updates"], whole.run.metrics()["train/n_updates"]
    )
    whole.path.rename(tmp_path / "elsewhere")
    assert len(resume(second.path, steps=10 * steps, quiet=True).run.metrics()["step"]) > 1


def test_imitating_for_no_iterations_is_refused(walker):
    with pytest.raises(ValueError, match="imitation=0 leaves nothing of"):
        begin(build(memory(imitation=0)), walker.path)
