"""Meta-training from a policy trained before: the same policy, and nothing that it did not have does harm."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from metarl.agents import preset
from metarl.agents.experiment import Experiment
from metarl.agents.experiments import open_run, train
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining
from metarl.agents.sb3_ppo import PPOTraining
from metarl.agents.starting import start_from
from metarl.envs.contestants import contestant
from metarl.envs.opponents import act

WORLD = "metarl/HexapodLegFailure-v0"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def walker(tmp_path_factory):
    config = replace(preset("ppo"), environments=4, horizon=20, batch_size=40, epochs=2, hidden=(16, 8))
    experiment = Experiment(
        world=WORLD, steps=160, out=str(tmp_path_factory.mktemp("runs")), evaluate_every=0
    )
    return train("ppo", experiment, config, quiet=True)


def learner(hidden=(16, 8), **policy):
    config = preset("continuous-adaptation")
    sampling = replace(config.sampling, tasks=2, trajectories=2, horizon=20)
    config = replace(config, policy=replace(config.policy, hidden=hidden, **policy), sampling=sampling)
    return MetaPolicyGradientTraining(WORLD, config)


def begin(training, path, world=WORLD, **options):
    """Let a training begin by another run or a wrestler."""
    start_from(training, Experiment(world=world, steps=1, start_from=str(path), world_options=options))


def test_it_acts_and_values_as_the_policy_it_starts_from(walker):
    training, model = learner(), walker.agent
    begin(training, walker.path)
    obs = np.random.default_rng(0).normal(size=(7, 37))
    seen = training.module.normalizer(torch.from_numpy(obs))
    mean, log_std = training.module.policy(seen)
    wanted = model.policy.get_distribution(torch.from_numpy(obs).float()).distribution
    torch.testing.assert_close(mean, wanted.mean)
    torch.testing.assert_close(log_std.exp(), wanted.stddev)
    context = torch.zeros(training.config.policy.context_size)
    values = training.module.value(seen.unsqueeze(0), context)[0]
    torch.testing.assert_close(values, model.policy.predict_values(torch.from_numpy(obs).float()).squeeze(-1))


def test_no_context_changes_what_it_does_before_that_is_learned(walker):
    training = learner()
    begin(training, walker.path)
    seen = torch.randn(7, 37)
    before = training.module.policy(seen)[0]
    with torch.no_grad():
        training.module.policy.context += 5
    torch.testing.assert_close(training.module.policy(seen)[0], before)


def test_a_context_that_alone_adapts_can_be_learned(walker):
    config = preset("cavia")
    sampling = replace(config.sampling, tasks=2, trajectories=2, horizon=20)
    config = replace(config, policy=replace(config.policy, hidden=(16, 8)), sampling=sampling)
    training = MetaPolicyGradientTraining(WORLD, config)
    begin(training, walker.path)
    loss = training.loss(training.collect(np.random.default_rng(0)).data)[0]
    weight = training.module.policy.network.layers[0].weight
    (gradient,) = torch.autograd.grad(loss, [weight])
    assert gradient[:, -config.policy.context_size :].abs().max() > 0


def test_a_run_that_starts_from_another_says_so_and_goes_on_by_itself(walker, tmp_path):
    config = learner().config
    experiment = Experiment(
        world=WORLD, steps=1, out=str(tmp_path), evaluate_every=0, start_from=str(walker.path)
    )
    trained = train("continuous-adaptation", experiment, config, quiet=True)
    assert open_run(trained.path).experiment.start_from == str(walker.path)
    assert np.isfinite(trained.run.metrics()["adapt/return_0"]).all()


def test_a_meta_policy_may_start_from_another(walker, tmp_path):
    first = learner()
    begin(first, walker.path)
    experiment = Experiment(world=WORLD, steps=1, out=str(tmp_path), evaluate_every=0)
    trained = train("continuous-adaptation", experiment, first.config, quiet=True)
    second = learner()
    begin(second, trained.path)
    weight = trained.agent.params["policy.network.layers.0.weight"]
    torch.testing.assert_close(
        dict(second.module.named_parameters())["policy.network.layers.0.weight"], weight
    )


def test_other_sizes_are_refused_by_name(walker):
    with pytest.raises(ValueError, match=r"policy\.network.*same policy\.hidden"):
        begin(learner(hidden=(32, 8)), walker.path)


def test_a_policy_with_memory_is_refused(tmp_path):
    config = replace(
        preset("recurrent-ppo"), environments=2, horizon=10, batch_size=20, epochs=1, hidden=(16, 8)
    )
    experiment = Experiment(world=WORLD, steps=1, out=str(tmp_path), evaluate_every=0)
    trained = train("recurrent-ppo", experiment, config, quiet=True)
    with pytest.raises(ValueError, match=r"same policy\.body"):
        begin(learner(), trained.path)


def small_ppo(**more):
    return replace(
        preset("ppo"), **{"environments": 4, "horizon": 20, "batch_size": 40, "hidden": (16, 8), **more}
    )


def test_ppo_starts_from_a_run_of_ppo(walker, tmp_path):
    experiment = Experiment(
        world=WORLD, steps=1, out=str(tmp_path), evaluate_every=0, start_from=str(walker.path)
    )
    # A step size this small leaves the policy where it was.
    trained = train("ppo", experiment, small_ppo(lr=1e-12, epochs=1), quiet=True)
    obs = torch.randn(5, 37)
    got, wanted = (each.agent.policy.get_distribution(obs).distribution for each in (trained, walker))
    torch.testing.assert_close(got.stddev, wanted.stddev)
    assert trained.agent.policy.features_extractor.normalizer.count == (160 + 80)
    start = PPOTraining(experiment, small_ppo(), torch.device("cpu"))
    begin(start, walker.path)
    torch.testing.assert_close(start.module.predict_values(obs), walker.agent.policy.predict_values(obs))
    torch.testing.assert_close(start.module.get_distribution(obs).distribution.mean, wanted.mean)


def test_ppo_refuses_other_networks_by_name(walker, tmp_path):
    experiment = Experiment(world=WORLD, steps=1, out=str(tmp_path), start_from=str(walker.path))
    with pytest.raises(ValueError, match=r"policy_net\.0.*\(16, 37\).*\(4, 37\).*same networks"):
        train("ppo", experiment, small_ppo(hidden=(4, 8)), quiet=True)


def test_a_rollout_is_put_away_at_the_target_kl():
    experiment = Experiment(world=WORLD, steps=1)
    updates = {}
    for target in (1e-9, None):
        training = PPOTraining(experiment, small_ppo(target_kl=target, epochs=3), torch.device("cpu"))
        training.collect(np.random.default_rng(0))
        training.optimizer.update(None)
        steps = training.model.policy.optimizer.state_dict()["state"]
        updates[target] = int(steps[0]["step"]) if steps else 0
    assert updates[1e-9] < updates[None] == 3 * 2
    with pytest.raises(ValueError, match="target_kl=0"):
        small_ppo(target_kl=0.0)


def test_minibatches_go_through_all_tasks_and_average_to_the_whole():
    torch.manual_seed(0)
    config = learner().config
    whole = MetaPolicyGradientTraining(WORLD, replace(config, sampling=replace(config.sampling, tasks=4)))
    data = whole.collect(np.random.default_rng(0)).data
    want = whole.loss(data)[0]
    whole.config = replace(whole.config, outer=replace(whole.config.outer, minibatches=2))
    parts = [whole.loss(data)[0] for _ in range(3)]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, want)
    torch.testing.assert_close(parts[2], parts[0])
    assert not torch.equal(parts[0], parts[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outer": {"minibatches": 50}}, "outer.minibatches=50"),
        ({"outer": {"before": -1.0}}, "outer.before=-1.0"),
        ({"outer": {"clip": -0.1}}, "outer.clip=-0.1"),
        ({"outer": {"step_size_lr": 0.0}}, "outer.step_size_lr=0.0"),
        ({"sampling": {"reward_scale": -1.0}}, "sampling.reward_scale=-1.0"),
        ({"policy": {"context_size": -1}}, "policy.context_size=-1"),
        ({"inner": {"context_lr": 1.0, "step_sizes": "step"}}, "inner.context_lr=1.0"),
        ({"inner": {"context_lr": 1.0}, "policy": {"context_size": 0}}, "policy.context_size above 0"),
        ({"sampling": {"baseline": "linear"}}, "no value network to adapt"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    config = preset("continuous-adaptation")
    with pytest.raises(ValueError, match=message):
        replace(
            config, **{part: replace(getattr(config, part), **fields) for part, fields in changes.items()}
        )


SUMO = "metarl/RoboSumo-Ant-vs-Bug-v0"
CANONICAL = {"canonical": True}


def wrestling(number=6):
    policy = contestant("ant@7").policy
    draw = np.random.default_rng(0)
    obs = policy.arrays["obs_mean"] + policy.arrays["obs_std"] * draw.normal(size=(number, 120))
    arrays = {name: np.stack([each] * number) for name, each in policy.arrays.items()}
    still = np.zeros((number, 0), np.float32), np.zeros((number, 8), np.float32)
    return obs, torch.from_numpy(act(arrays, obs, *still)[0]), policy.arrays["log_std"]


def test_ppo_starts_from_a_wrestler_of_the_zoo():
    experiment = Experiment(world=SUMO, steps=1, world_options=CANONICAL)
    training = PPOTraining(experiment, small_ppo(hidden=(64, 64)), CPU)
    torch.manual_seed(0)
    values = training.module.value_net.weight.clone()
    begin(training, "ant@7", SUMO, **CANONICAL)
    obs, wanted, log_std = wrestling()
    found = training.module.get_distribution(torch.from_numpy(obs)).distribution
    torch.testing.assert_close(found.mean.clamp(-1, 1), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.stddev[0].log(), torch.from_numpy(log_std))
    torch.testing.assert_close(training.module.value_net.weight, values)


def test_a_meta_policy_starts_from_a_wrestler_of_the_zoo():
    config = preset("continuous-adaptation")
    config = replace(config, policy=replace(config.policy, hidden=(64, 64)))
    training = MetaPolicyGradientTraining(SUMO, config, world_options=CANONICAL)
    begin(training, "ant@7", SUMO, **CANONICAL)
    obs, wanted, _ = wrestling()
    found = training.module.policy(training.module.normalizer(torch.from_numpy(obs)))[0]
    torch.testing.assert_close(found.clamp(-1, 1), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "world", "options", "reason"),
    [
        ("aunt@7", SUMO, CANONICAL, "not the folder of a run, and no wrestler.*did you mean 'ant'"),
        ("zero-ant", SUMO, CANONICAL, "has no policy"),
        ("bug@6", SUMO, CANONICAL, "has the body Bug, expected .* the body Ant"),
        ("ant@7", SUMO, {}, "world option canonical=true"),
        ("ant@7", WORLD, {}, "there is no run at 'ant@7'"),
    ],
)
def test_what_is_no_start_is_refused(name, world, options, reason):
    experiment = Experiment(world=world, steps=1, start_from=name, world_options=options)
    training = PPOTraining(experiment, small_ppo(hidden=(64, 64)), CPU)
    with pytest.raises(ValueError, match=reason):
        start_from(training, experiment)


def test_a_training_starts_from_a_wrestler(tmp_path):
    experiment = Experiment(
        SUMO, steps=1, out=str(tmp_path), evaluate_every=0, start_from="ant@7", world_options=CANONICAL
    )
    config = replace(small_ppo(hidden=(64, 64), lr=1e-12, epochs=1), horizon=4)
    trained = train("ppo", experiment, config, quiet=True)
    obs, wanted, _ = wrestling()
    found = trained.agent.policy.get_distribution(torch.from_numpy(obs)).distribution.mean
    torch.testing.assert_close(found.clamp(-1, 1), wanted, rtol=1e-3, atol=1e-3)


def remembering(tmp_path, **changes):
    small = {"environments": 2, "horizon": 12, "batch_size": 28, "unroll": 6, "memory": 5, "hidden": (7,)}
    config = replace(preset("recurrent-ppo"), epochs=2, **small | {"activation": "relu"} | changes)
    experiment = Experiment(world=WORLD, steps=168, out=str(tmp_path), evaluate_every=0)
    return train("recurrent-ppo", experiment, config, quiet=True)


def recurrent_learner():
    config = preset("continuous-adaptation")
    policy = replace(config.policy, body="lstm", hidden=(7, 5))
    sampling = replace(config.sampling, tasks=2, trajectories=2, horizon=12)
    return MetaPolicyGradientTraining(WORLD, replace(config, policy=policy, sampling=sampling))


def test_a_memory_acts_and_values_as_the_one_it_starts_from(tmp_path):
    run, training = remembering(tmp_path), recurrent_learner()
    begin(training, run.path)
    module, obs = training.module, np.random.default_rng(0).normal(size=(9, 1, 37)).astype(np.float32)
    (memory,), values = module.policy.initial_memory(1), module.value.network.initial_memory(1)
    lstm = run.agent.policy.lstm_actor
    state = tuple(torch.zeros(1, 1, lstm.hidden_size) for _ in range(2))
    states, starts = RNNStates(state, state), torch.zeros(1)
    for number, each in enumerate(torch.from_numpy(obs)):
        seen = module.normalizer(each)
        mean, log_std, memory = module.policy(seen, memory)
        time = torch.zeros(1, 4)
        context = torch.zeros(1, module.policy.context.numel())
        value, values = module.value.network(torch.cat([seen, time, context], dim=-1), values)
        wanted = run.agent.policy.get_distribution(each, states.pi, starts)[0].distribution
        _, wanted_value, _, states = run.agent.policy(each, states, starts, deterministic=True)
        torch.testing.assert_close(mean, wanted.mean, msg=f"step {number}")
        torch.testing.assert_close(log_std.exp(), wanted.stddev)
        torch.testing.assert_close(value * module.value.unit, wanted_value)


@pytest.mark.parametrize("changes", [{"activation": "tanh"}, {"feedback": True}])
def test_a_memory_of_another_kind_is_refused(tmp_path, changes):
    run = remembering(tmp_path, **changes)
    with pytest.raises(ValueError, match="start from a run of `recurrent-ppo --activation relu`"):
        begin(recurrent_learner(), run.path)
