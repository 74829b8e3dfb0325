import subprocess
import sys

import pytest

import metarl
from metarl.agents import experiments, preset
from metarl.agents.configs import InnerConfig
from metarl.agents.experiment import Experiment
from metarl.settings import changed, split


def test_import_is_light_and_registers_the_worlds():
    code = """
import sys, gymnasium, metarl
heavy = [name for name in ("torch", "mujoco", "rich", "tyro", "matplotlib") if name in sys.modules]
assert not heavy, heavy
missing = [name for name in metarl.WORLDS if name not in gymnasium.registry]
assert not missing, missing
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    assert [name for name in metarl.__all__ if getattr(metarl, name, None) is None] == []
    assert set(metarl.__all__) <= set(dir(metarl))
    assert set(metarl._HOMES) | {"train", "open_run", "resume", "__version__"} == set(metarl.__all__)


def test_what_error_messages_name_is_there_after_importing_metarl():
    code = "import metarl; metarl.nn.LayerNorm; metarl.update_rules.SGD; metarl.agents; metarl.supervised"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_brings_the_nearest():
    with pytest.raises(AttributeError, match="did you mean 'adapt'"):
        metarl.adaptt  # noqa: B018


@pytest.fixture
def calls(monkeypatch):
    found = []
    monkeypatch.setattr(experiments, "train", lambda *args, **kwargs: found.append((args, kwargs)))
    return found


def test_train_sorts_keywords_into_experiment_and_config(calls):
    inner = {"lr": 0.2}
    metarl.train(
        "promp", world="CheetahDir-v0", steps=9, seed=4, inner=inner, policy={"hidden": [5]}, quiet=True
    )
    (((agent, experiment, config), options),) = calls
    assert agent == "promp"
    assert experiment == Experiment(world="metarl/CheetahDir-v0", steps=9, seed=4)
    assert (config.inner.lr, config.inner.estimator, config.policy.hidden) == (0.2, "lvc", (5,))
    assert options == {"quiet": True}


def test_train_takes_whole_configs_too(calls):
    metarl.train(
        "maml", world="AntDir-v0", config=preset("cavia"), inner=InnerConfig(adapted="context", lr=3)
    )
    (((_, _, config), _),) = calls
    assert (config.policy.context_size, config.inner.lr) == (preset("cavia").policy.context_size, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sed": 1}, "did you mean 'seed'"),
        ({"inner": {"l": 1}}, "did you mean 'lr'"),
        ({"inner": {"lr": "fast"}}, "inner.lr"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_what_cannot_be_set_is_refused(calls, settings, message):
    with pytest.raises(ValueError, match=message):
        metarl.train("promp", world="CheetahDir-v0", **settings)
    assert not calls


def test_no_agent_has_a_setting_that_the_experiment_has():
    experiment = Experiment(world="x")
    for agent in metarl.AGENTS:
        config = preset(agent)
        first, second = split(dict.fromkeys(vars(config)), experiment, config)
        assert (len(first), len(second)) == (0, len(vars(config)))


def test_changed_leaves_the_old_config_alone():
    before = preset("promp")
    after = changed(before, {"outer": {"lr": 0.5}})
    assert (before.outer.lr == 0.5, after.outer.lr) == (False, 0.5)
    assert after.inner == before.inner
