"""An agent with memory that starts from one without: it comes to act like it, goes on exactly, refuses other bodies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metarl.agents import preset
from metarl.agents.experiment import Experiment
from metarl.agents.experiments import open_run, resume, train
from metarl.agents.imitation import Teacher, imitate
from metarl.agents.sb3_memory import MemoryTraining
from metarl.agents.sb3_ppo import PPOTraining

POINT = "metarl/PointNavigation-v0"
SPIDER = "metarl/RoboSumo-Spider-vs-Ant-v0"
pytestmark = pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")


def memory(agent="rl2", **changes):
    small = {"environments": 4, "horizon": 10, "episodes": 2, "batch_size": 40, "unroll": 5, "memory": 16}
    return replace(preset(agent), hidden=(16,), **small | changes)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    config = replace(preset("ppo"), environments=4, horizon=20, batch_size=40, epochs=2, hidden=(16, 8))
    out = str(tmp_path_factory.mktemp("runs"))
    return train("ppo", Experiment(POINT, steps=160, out=out, evaluate_every=0), config, quiet=True)


def experiment(teacher, tmp_path, **changes):
    fields = {"steps": 1, "seed": 3, "out": str(tmp_path), "evaluate_every": 0, "checkpoint_every": 1}
    return Experiment(POINT, start_from=str(teacher.path), **fields | changes)


def test_a_teacher_acts_as_the_policy_that_was_trained(teacher):
    policy = teacher.agent.policy
    obs = torch.randn(5, policy.observation_space.shape[0])
    wanted = policy.get_distribution(obs).distribution
    read = Teacher(policy.state_dict())
    torch.testing.assert_close(read(obs), wanted.mean)
    torch.testing.assert_close(read.log_std.exp().expand_as(wanted.stddev), wanted.stddev)
    assert read.sizes == (obs.shape[1], 2)


def test_imitation_comes_near_and_values_what_was_earned(teacher, tmp_path):
    config = memory(epochs=4, lr=3e-3, reward_scale=0.1)
    training = MemoryTraining(experiment(teacher, tmp_path), config, torch.device("cpu"))
    read = Teacher(teacher.agent.policy.state_dict())
    rng, seen = np.random.default_rng(0), []
    for _ in range(40):
        training.collect(rng)
        seen.append(imitate(training.model, read))
    first, last = seen[0], seen[-1]
    assert last["imitation/kl"] < 0.1 * first["imitation/kl"]
    assert last["imitation/value_loss"] < 0.8 * first["imitation/value_loss"]
    torch.testing.assert_close(training.module.log_std.data, read.log_std)


class Still:
    """A teacher that does nothing."""

    sizes, log_std = (2, 2), torch.zeros(2)

    def __call__(self, obs):
        return torch.zeros(len(obs), 2)


@pytest.mark.parametrize("agent", ["ppo", "rl2"])
def test_what_imitation_says_of_itself_by_hand(agent):
    """Two means of 1 where the teacher has 0, at a spread of 1: 1/2 nat each. Values of 3 for returns of 5."""
    config = (
        memory(agent, epochs=1)
        if agent == "rl2"
        else replace(preset("ppo"), environments=4, horizon=10, epochs=1)
    )
    kind = MemoryTraining if agent == "rl2" else PPOTraining
    training = kind(Experiment(POINT, steps=1), replace(config, batch_size=80), torch.device("cpu"))
    model = training.model
    with torch.no_grad():
        for layer, bias in ((model.policy.action_net, 1.0), (model.policy.value_net, 3.0)):
            layer.weight.zero_()
            layer.bias.fill_(bias)
    training.collect(np.random.default_rng(0))
    model.rollout_buffer.returns[:] = 5.0
    found = imitate(model, Still())
    assert found == pytest.approx({"imitation/kl": 1.0, "imitation/value_loss": 4.0}, rel=1e-5)


@pytest.mark.parametrize("agent", ["rl2", "recurrent-ppo"])
def test_it_imitates_first_and_goes_on_exactly(agent, teacher, tmp_path):
    config, steps = memory(agent, imitation=2), 4 * 10 * 2
    whole = train(agent, experiment(teacher, tmp_path / "a", steps=3 * steps), config, quiet=True)
    metrics = whole.run.metrics()
    assert np.isfinite(metrics["imitation/kl"]).tolist() == [True, True, False]
    assert np.isfinite(metrics["train/loss"]).tolist() == [False, False, True]
    part = train(agent, experiment(teacher, tmp_path / "b", steps=steps), config, quiet=True)
    resumed = resume(part.path, steps=3 * steps, quiet=True)
    wanted = dict(whole.agent.policy.named_parameters())
    for name, value in resumed.agent.policy.named_parameters():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)


def test_from_one_with_memory_it_goes_on_without_imitating(teacher, tmp_path):
    first = train("rl2", experiment(teacher, tmp_path), memory(), quiet=True)
    second = train("rl2", experiment(first, tmp_path), memory(), quiet=True)
    assert "imitation/kl" not in second.run.metrics()
    assert open_run(second.path).experiment.start_from == str(first.path)


def test_a_teacher_of_another_body_is_refused(teacher, tmp_path):
    elsewhere = replace(experiment(teacher, tmp_path), world="metarl/CheetahDir-v0")
    with pytest.raises(ValueError, match=r"has 2 observations and 2 actions.*same body"):
        train("rl2", elsewhere, memory(), quiet=True)
    with pytest.raises(ValueError, match="imitation=-1"):
        memory(imitation=-1)


def walker(tmp_path, steps, start="gait-spider", world=SPIDER, agent="ppo", **changes):
    small = {"environments": 4, "hidden": (16,), "batch_size": 20, "lr": 3e-3, "horizon": 10}
    config = replace(preset(agent), **small | changes) if agent == "ppo" else preset(agent)
    fields = {"out": str(tmp_path), "evaluate_every": 0, "checkpoint_every": 1}
    return train(agent, Experiment(world, steps=steps, start_from=start, **fields), config, quiet=True)


def test_ppo_imitates_a_gait_and_then_learns(tmp_path):
    found = walker(tmp_path, 480, imitation=10).run.metrics()
    assert np.isfinite(found["imitation/kl"]).tolist() == [True] * 10 + [False] * 2
    assert np.isfinite(found["train/approx_kl"]).tolist() == [False] * 10 + [True] * 2
    assert found["imitation/kl"][9] < 0.7 * found["imitation/kl"][0]


def test_a_training_that_imitates_a_gait_goes_on_exactly(tmp_path):
    whole = walker(tmp_path / "whole", 240, imitation=4)
    part = resume(walker(tmp_path / "part", 80, imitation=4).path, steps=240, quiet=True)
    one, other = (run.agent.policy.state_dict() for run in (whole, part))
    assert int(one["imitations"]) == 4
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


def test_gaits_of_another_body_and_for_other_agents_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'gait-spider' has the body Spider, expected .* Ant"):
        walker(tmp_path, 40, world="metarl/RoboSumo-Ant-vs-Ant-v0")
    with pytest.raises(ValueError, match="meta-policies cannot imitate 'gait-spider'"):
        walker(tmp_path, 40, agent="promp")
    with pytest.raises(ValueError, match="no run at 'gait-spider'"):
        walker(tmp_path, 40, world=POINT)
