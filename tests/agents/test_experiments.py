"""Every agent end to end on a small world: train, resume, evaluate, act, adapt."""

import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from metarl import checkpoints
from metarl.agents import AGENTS, preset
from metarl.agents.configs import MetaPolicyGradient, SamplingConfig
from metarl.agents.experiment import Experiment
from metarl.agents.experiments import open_run, outer_optimizer, resume, train
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining
from metarl.agents.rollouts import make_world
from metarl.cli import main
from metarl.commands.errors import is_users_mistake
from metarl.configs import read_json
from metarl.gradients import NonFinite
from metarl.training import TrainingDiverged, generator

WORLD = "metarl/PointNavigation-v0"
SMALL = SamplingConfig(tasks=3, trajectories=4, horizon=10)


def small(agent):
    config = preset(agent)
    if isinstance(config, MetaPolicyGradient):
        sampling = replace(config.sampling, tasks=3, trajectories=4, horizon=10)
        outer = replace(config.outer, minibatches=min(config.outer.minibatches, 3))
        return replace(config, sampling=sampling, outer=outer, policy=replace(config.policy, hidden=(8,)))
    return replace(config, environments=4, horizon=10, batch_size=20, epochs=2, hidden=(8,))


def experiment(tmp_path, steps, world=WORLD, **changes):
    return Experiment(world=world, steps=steps, seed=5, out=str(tmp_path), evaluate_every=0, **changes)


def parameters(run):
    return checkpoints.load(checkpoints.latest(run.run.checkpoints))[0]


@pytest.mark.parametrize("agent", [each for each in AGENTS if each != "self-play"])
def test_an_agent_trains_resumes_exactly_and_adapts(agent, tmp_path):
    config = small(agent)
    per_iteration = {"ppo": 40, "recurrent-ppo": 40, "rl2": 120}.get(agent)
    if per_iteration is None:
        per_iteration = 3 * 4 * 10 * (config.inner.steps + 1)
    pairs = isinstance(config, MetaPolicyGradient) and config.sampling.unit != "task"
    world = "metarl/HexapodLegFailure-v0" if pairs else WORLD
    whole = train(agent, experiment(tmp_path / "whole", 4 * per_iteration, world), config, quiet=True)
    half = train(agent, experiment(tmp_path / "half", 2 * per_iteration, world), config, quiet=True)
    before = parameters(half)
    resumed = resume(half.path, steps=4 * per_iteration, quiet=True)
    expected, got = parameters(whole), parameters(resumed)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert any(not torch.equal(before[name], got[name]) for name in before if name in got)

    for wrong in ({"seed": -1}, {"tasks": 0}, {"trajectories": 0}, {"repeats": 0}):
        with pytest.raises(ValueError, match=r"=-?\d, expected"):
            resumed.evaluate(**wrong)
    evaluation = resumed.evaluate(inner_steps=2, tasks=2, repeats=2, trajectories=3)
    assert evaluation.scores.shape == (2, 2, 1 if agent == "ppo" else 3)
    assert np.isfinite(evaluation.scores).all()
    spaces = make_world(world, 1)
    size = spaces.single_observation_space.shape[0]
    if agent == "rl2":
        size += spaces.single_action_space.shape[0] + 3  # it observes its actions and rewards, too
    observation = np.zeros(size, dtype=np.float32)
    action, _ = open_run(resumed.path).agent.predict(observation, deterministic=True)
    assert action.shape == spaces.single_action_space.shape


def test_adapting_gives_a_new_agent_and_leaves_the_old_one(tmp_path):
    trained = train("promp", experiment(tmp_path, 240), small("promp"), quiet=True)
    agent = trained.agent
    before = {name: value.clone() for name, value in agent.params.items()}
    world = make_world(WORLD, 4, 10)
    adapted = agent.adapt(agent.sample(world, {"goal": [0.3, 0.3]}))
    assert all(torch.equal(before[name], agent.params[name]) for name in before)
    assert any(not torch.equal(adapted.params[name], before[name]) for name in before)
    assert adapted.inner_steps == 1


def test_only_the_context_adapts_in_cavia(tmp_path):
    agent = train("cavia", experiment(tmp_path, 240), small("cavia"), quiet=True).agent
    adapted = agent.adapt(agent.sample(make_world(WORLD, 4, 10), {"goal": [0.3, 0.3]}))
    changed = {name for name in agent.params if not torch.equal(agent.params[name], adapted.params[name])}
    assert changed == {"policy.context"}
    assert torch.equal(agent.params["policy.context"], torch.zeros(5))


def test_reptile_moves_towards_the_mean_of_the_adapted_parameters():
    config = small("reptile")
    torch.manual_seed(0)
    algorithm = MetaPolicyGradientTraining(WORLD, config)
    adapted = algorithm.collect(generator(0, 1, "collect")).data["adapted"]
    loss, _ = algorithm.loss({"adapted": adapted})
    loss.backward()
    moved = {n: p for n, p in algorithm.module.named_parameters() if p.grad is not None}
    assert moved.keys() == {f"policy.{name}" for name, _ in algorithm.module.policy.named_parameters()}
    for name, parameter in moved.items():
        expected = parameter.detach() - adapted[name].mean(0)
        torch.testing.assert_close(parameter.grad, expected, atol=1e-6, rtol=1e-5)


def test_the_meta_gradient_is_the_mean_over_tasks():
    config = small("promp")
    torch.manual_seed(0)
    algorithm = MetaPolicyGradientTraining(WORLD, config)
    data = algorithm.collect(generator(0, 1, "collect")).data
    whole = torch.autograd.grad(algorithm.loss(data)[0], algorithm.module.policy.log_std)[0]

    def one(t):
        support = [{n: v[t : t + 1] for n, v in each.items()} for each in data["support"]]
        return {"support": support, "query": {n: v[t : t + 1] for n, v in data["query"].items()}}

    alone = [
        torch.autograd.grad(algorithm.loss(one(t))[0], algorithm.module.policy.log_std)[0] for t in range(3)
    ]
    torch.testing.assert_close(whole, torch.stack(alone).mean(0))


def test_learned_step_sizes_are_meta_parameters(tmp_path):
    config = small("meta-sgd")
    algorithm = MetaPolicyGradientTraining(WORLD, config)
    names = dict(algorithm.module.named_parameters())
    for name, parameter in algorithm.module.policy.named_parameters():
        assert names[f"rule.lr.policy.{name}"].shape[-parameter.ndim :] == parameter.shape
    loss, _ = algorithm.loss(algorithm.collect(generator(0, 1, "collect")).data)
    loss.backward()
    assert names["rule.lr.policy.log_std"].grad.abs().sum() > 0


def test_adams_first_step_moves_a_step_size_by_a_share_of_where_it_starts():
    config = preset("cavia")
    inner = replace(config.inner, lr=0.5, context_lr=20.0, step_sizes="tensor", adapted="all")
    outer = replace(config.outer, lr=0.003, step_size_lr=0.01, epochs=1, max_grad_norm=None)
    starts = {"policy.log_std": 1.0, "rule.lr.policy.log_std": 0.5, "rule.lr.policy.context": 20.0}
    parameters = {name: torch.tensor([value], requires_grad=True) for name, value in starts.items()}
    optimizer = outer_optimizer(parameters, replace(config, inner=inner, outer=outer))
    optimizer.update(lambda: (sum(each.sum() for each in parameters.values()), {}))
    moved = [starts[name] - each.item() for name, each in parameters.items()]
    np.testing.assert_allclose(moved, [0.003, 0.005, 0.2], rtol=1e-3)


def test_reptile_goes_its_share_of_the_way_however_long_that_is():
    config = preset("reptile")
    config = replace(config, outer=replace(config.outer, lr=0.5, max_grad_norm=0.5))
    x = torch.tensor([3.0, 4.0], requires_grad=True)  # 5 away from the origin, which is where it is to go
    metrics = outer_optimizer({"x": x}, config).update(lambda: (x.square().sum() / 2, {}))
    assert x.tolist() == [1.5, 2.0]
    assert metrics["grad_norm"] == 5.0


def test_promp_learns_to_navigate(tmp_path):
    """A smoke test: a short training must make adaptation pay."""
    config = preset("promp")
    sampling = replace(config.sampling, tasks=10, trajectories=10, horizon=20)
    config = replace(config, sampling=sampling, outer=replace(config.outer, lr=1e-2))
    trained = train("promp", experiment(tmp_path, 25 * 4000), config, quiet=True)
    scores = trained.evaluate(inner_steps=1, tasks=10, repeats=2).scores.mean((0, 1))
    rows = trained.run.metrics()["adapt/return_1"]
    assert scores[1] > scores[0]
    assert np.mean(rows[-3:]) > np.mean(rows[:3])


def test_the_value_network_learns_beside_the_policy():
    config = replace(small("promp"), sampling=replace(SMALL, baseline="network"))
    torch.manual_seed(0)
    algorithm = MetaPolicyGradientTraining(WORLD, config)
    optimizer = outer_optimizer(
        dict(algorithm.module.named_parameters()),
        replace(config, outer=replace(config.outer, epochs=150, lr=1e-2)),
    )
    data = algorithm.collect(generator(0, 1, "collect")).data
    before = float(algorithm.loss(data)[1]["train/value_loss"])
    optimizer.update(lambda: algorithm.loss(data))
    assert float(algorithm.loss(data)[1]["train/value_loss"]) < 0.5 * before


def test_a_world_without_tasks_is_refused():
    with pytest.raises(ValueError, match="sample_tasks"):
        make_world("CartPole-v1", 2)


def test_an_unknown_agent_is_told_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'promp'"):
        preset("pro-mp")


def test_a_wrong_observation_is_refused(tmp_path):
    agent = train("promp", experiment(tmp_path, 240), small("promp"), quiet=True).agent
    with pytest.raises(ValueError, match="expected"):
        agent.predict(np.zeros(7))


def test_the_world_is_unknown():
    with pytest.raises(gymnasium.error.Error):
        train("promp", Experiment(world="metarl/CheetahDirr-v0", steps=10))


def test_a_horizon_among_the_worlds_options_is_refused():
    with pytest.raises(ValueError, match=r"--sampling\.horizon"):
        Experiment("metarl/CheetahDir-v0", world_options={"horizon": 5})


def test_an_evaluation_says_what_it_judged_and_whether_tasks_were_kept_apart(tmp_path, capsys):
    for world, disjoint in (("metarl/CheetahDir-v0", False), (WORLD, True)):
        run = train("promp", experiment(tmp_path, 1, world), small("promp"), quiet=True)
        assert main(["evaluate", str(run.path), "--tasks", "2", "--repeats", "2", "--quiet"]) == 0
        assert ("note: the test tasks are those of training" in capsys.readouterr().out) != disjoint
        assert main(["evaluate", str(run.path), "--split", "train", "--repeats", "2", "--quiet"]) == 0
        assert "note:" not in capsys.readouterr().out
        protocol = read_json(run.path / "evaluation.json")["protocol"]
        assert (protocol["disjoint"], protocol["trajectories"]) == (disjoint, 4)
    assert run.evaluate(tasks=1, repeats=1, trajectories=2, quiet=True).protocol["trajectories"] == 2
    ppo = train("ppo", experiment(tmp_path, 1), small("ppo"), quiet=True)
    assert ppo.evaluate(tasks=1, repeats=1, quiet=True).protocol["trajectories"] == 20


def diverged(agent, tmp_path, config, **changes):
    with pytest.raises(TrainingDiverged) as raised:
        train(agent, experiment(tmp_path, 2000, **changes), config, quiet=True)
    run = open_run(raised.value.checkpoint.parent.parent)
    assert run.run.info["reason"] == "diverged"
    return run, raised.value


def test_an_inner_step_that_breaks_down_ends_training_and_is_not_taken_in_an_evaluation(tmp_path):
    config = small("promp")
    config = replace(config, inner=replace(config.inner, lr=1e30))
    run, error = diverged("promp", tmp_path, config)
    assert (error.iteration, error.quantity) == (1, "the policy after inner step 1")
    scores = run.evaluate(tasks=2, repeats=1, inner_steps=2, quiet=True).scores
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("agent", ["ppo", "recurrent-ppo"])
def test_ppo_that_diverges_says_what_and_where(agent, tmp_path):
    _, error = diverged(agent, tmp_path, replace(small(agent), lr=1e30))
    assert error.quantity == "mean or standard deviation of the policy's actions"
    assert error.iteration == 1


def test_actions_that_are_no_numbers_are_a_message():
    algorithm = MetaPolicyGradientTraining(WORLD, small("promp"))
    algorithm.module.policy.log_std.data.fill_(float("nan"))
    with pytest.raises(NonFinite, match="an action of the policy is not finite") as raised:
        algorithm.collect(generator(0, 1, "collect"))
    assert is_users_mistake(raised.value)


@pytest.mark.parametrize("agent", ["ppo", "recurrent-ppo"])
def test_rollouts_of_one_step_are_refused_and_large_seeds_are_not(agent, tmp_path):
    config = replace(small(agent), environments=1, horizon=1)
    with pytest.raises(ValueError, match="environments=1 with 1 step in each"):
        train(agent, experiment(tmp_path, 1), config, quiet=True)
    large = Experiment(WORLD, steps=1, seed=2**32 + 5, out=str(tmp_path), evaluate_every=0)
    assert train(agent, large, small(agent), quiet=True).run.info["reason"] == "finished"


def test_a_run_goes_on_with_at_least_what_it_has_done_and_tells_of_other_tasks(tmp_path):
    run = train("ppo", experiment(tmp_path, 80), small("ppo"), quiet=True)
    with pytest.raises(ValueError, match=r"got a total of 79 .* has done 80 already"):
        resume(run.path, steps=79, quiet=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run = resume(run.path, steps=120, quiet=True)
    assert run.run.info["total"] == 120
    run.run.note(split_hash="another")
    with pytest.warns(UserWarning, match=r"the tasks of .* have changed"):
        resume(run.path, steps=160, quiet=True)
