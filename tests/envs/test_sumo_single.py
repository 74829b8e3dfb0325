"""Sumo as one side meets it: opponents, what they remember, and games against them."""

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.envs.opponents import OpponentPolicy
from metarl.envs.sumo_parallel import parallel_env

WORLD = "metarl/RoboSumo-Ant-vs-Bug-v0"


class Remembers:
    """An opponent that counts its steps in each match, and acts by the count."""

    def __init__(self):
        self.starts = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.starts.append(episode_start)
        count = np.zeros(len(observation)) if state is None else state
        count = np.where(episode_start, 0, count)
        actions = np.tile(np.sin(count)[:, None] + 0.1 * observation[:, 2:3], (1, 12))
        return actions.astype(np.float32), count + 1


@pytest.mark.parametrize("lifetime", [None, {"schedule": "switch", "every": 2}])
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_opponents_are_the_same_in_a_vector_and_alone(mode, lifetime):
    arguments = {
        "opponent": [Remembers(), "zero", lambda seen: np.tanh(seen[:, :12])],
        "physics": "fast",
        "horizon": 6,
        "lifetime": lifetime,
    }
    ours = gymnasium.make_vec(
        WORLD, num_envs=4, vectorization_mode="vector_entry_point", autoreset_mode=mode, **arguments
    )
    theirs = SyncVectorEnv(
        [
            lambda: gymnasium.make(
                WORLD, **{**arguments, "opponent": [Remembers(), *arguments["opponent"][1:]]}
            )
        ]
        * 4,
        autoreset_mode=mode,
    )
    first, info = ours.reset(seed=2)
    np.testing.assert_array_equal(first, theirs.reset(seed=2)[0])
    met = set(info["task"]["opponent"])
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = rng.uniform(-1, 1, (4, 8)).astype(np.float32)
        one, two = ours.step(actions), theirs.step(actions)
        for mine, other in zip(one[:4], two[:4], strict=True):
            np.testing.assert_array_equal(mine, other)
        np.testing.assert_array_equal(one[4].get("outcome", 0), two[4].get("outcome", 0))
        if "task" in one[4]:
            met |= set(one[4]["task"]["opponent"][one[4]["_task"]])
    assert met == {"opponent-0", "opponent-1", "opponent-2"}


def test_one_side_against_an_opponent_is_the_same_match():
    """The opponent's actions, played by hand on the second side."""
    env = gymnasium.make(WORLD, opponent=Remembers(), physics="fast").unwrapped
    both = parallel_env("Ant-vs-Bug", physics="fast")
    by_hand, memory = Remembers(), None
    seen, theirs = env.reset(seed=3)[0], both.reset(seed=3)[0]
    rng = np.random.default_rng(1)
    for number in range(10):
        np.testing.assert_array_equal(seen, theirs["agent_0"])
        action = rng.uniform(-1, 1, 8)
        answer, memory = by_hand.predict(theirs["agent_1"][None], memory, np.array([number == 0]))
        seen, reward, *_, info = env.step(action)
        theirs, rewards, *_, infos = both.step({"agent_0": action, "agent_1": answer[0]})
        assert reward == rewards["agent_0"]
        shared = info.keys() - {"outcome", "score"}
        assert all(infos["agent_0"][name] == info[name] for name in shared)


def test_a_match_that_is_won_in_its_last_step_is_no_draw_for_either_face():
    env = gymnasium.make(WORLD, opponent="zero", horizon=1).unwrapped
    both = parallel_env("Ant-vs-Bug", horizon=1)
    for each, match in ((env, env.world.match), (both, both._matches.world)):
        each.reset(seed=3)
        match.simulation.qpos[0, 15:17] = 9.0  # the opponent is out
    *_, terminated, truncated, info = env.step(np.zeros(8))
    *_, ended, cut, infos = both.step({"agent_0": np.zeros(8), "agent_1": np.zeros(12)})
    assert (terminated, truncated, info["outcome"]) == (True, False, 1)
    assert (ended["agent_0"], cut["agent_0"], infos["agent_0"]["outcome"]) == (True, False, "win")


@pytest.mark.parametrize(("out", "score"), [(slice(0, 2), -1), (slice(15, 17), 1)])
def test_who_is_put_off_the_mat_has_lost(out, score):
    env = gymnasium.make(WORLD, opponent="zero", physics="fast").unwrapped
    env.reset(seed=3)
    assert env.step(np.zeros(8))[4]["score"] == 0
    env.world.match.simulation.qpos[0, out] = 9.0
    *_, terminated, _, info = env.step(np.zeros(8))
    assert terminated
    assert info["score"] == score


def lstm(size: int = 164, actions: int = 12, units: int = 3) -> OpponentPolicy:
    rng = np.random.default_rng(0)
    normal = {"cell.weight_ih": (4 * units, size), "cell.weight_hh": (4 * units, units)}
    normal |= {"cell.bias": (4 * units,), "head.weight": (actions, units), "head.bias": (actions,)}
    whitened = {"obs_mean": np.zeros(size), "obs_std": np.ones(size), "obs_clip": np.array(5.0)}
    drawn = {name: rng.standard_normal(shape) for name, shape in normal.items()}
    return OpponentPolicy(whitened | drawn | {"log_std": np.zeros(actions)})


@pytest.mark.parametrize("opponent", [Remembers(), lstm()])
def test_a_state_from_before_the_first_reset_goes_back_into_a_world_that_was_used(opponent):
    env = gymnasium.make_vec(
        WORLD, num_envs=2, vectorization_mode="vector_entry_point", opponent=opponent, horizon=3
    ).unwrapped
    before = env.get_state()
    env.reset(seed=0)
    first = [env.step(np.zeros((2, 8)))[0] for _ in range(2)]
    env.set_state(before)
    env.reset(seed=0)
    np.testing.assert_array_equal(first, [env.step(np.zeros((2, 8)))[0] for _ in range(2)])


def test_memory_is_forgotten_where_a_match_begins():
    policy = Remembers()
    env = gymnasium.make_vec(
        WORLD, num_envs=3, vectorization_mode="vector_entry_point", opponent=policy, horizon=2, physics="fast"
    )
    env.reset(seed=0)
    for _ in range(4):
        env.step(np.zeros((3, 8)))
    assert [each.tolist() for each in policy.starts] == [[True] * 3, [False] * 3] * 2
    assert env.unwrapped.tasks.player({"opponent": "opponent", "version": 0}) is policy


def test_what_opponents_remember_is_part_of_the_state():
    env = gymnasium.make_vec(
        WORLD,
        num_envs=4,
        vectorization_mode="vector_entry_point",
        opponent=[Remembers(), "zero"],
        horizon=5,
        physics="fast",
    ).unwrapped
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 4, 8))
    for each in actions[:3]:
        env.step(each)
    assert {each["opponent"] for each in env.get_task()} == {"opponent-0", "opponent-1"}
    state = env.get_state()
    steps = [env.step(each) for each in actions[3:]]
    env.set_state(state)
    for each, step in zip(actions[3:], steps, strict=True):
        again = env.step(each)
        np.testing.assert_array_equal(again[0], step[0])
        np.testing.assert_array_equal(again[1], step[1])


@pytest.mark.parametrize("second", [[1, 0], [1, 1], [0, 0]])
def test_a_copy_knows_which_opponent_remembers_what(second):
    """Also of opponents that were met in another order before, or are met no more."""
    env = gymnasium.make_vec(
        WORLD,
        num_envs=2,
        vectorization_mode="vector_entry_point",
        opponent=[Remembers(), Remembers()],
        horizon=9,
        physics="fast",
    ).unwrapped
    for number, met in enumerate(([0, 1], second)):
        tasks = [{"opponent": f"opponent-{one}", "version": 0} for one in met]
        env.reset(seed=number, options={"tasks": tasks})
        for _ in range(2 + number):
            env.step(np.zeros((2, 8)))
    env.world._crew._asked[id(env.tasks.player(tasks[0]))].memory += 5  # so that no two remember the same
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(3):
        for each in (env, twin):
            each.step(np.zeros((2, 8)))
        sent, theirs = (each.world.match.simulation.bind("ctrl") for each in (env, twin))
        np.testing.assert_array_equal(sent, theirs)


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_a_copy_has_the_opponents_that_were_added(make):
    more = {"num_envs": 2, "vectorization_mode": "vector_entry_point"} if make is gymnasium.make_vec else {}
    env = make(WORLD, physics="fast", **more).unwrapped
    env.tasks.add("pusher", 2, Remembers())
    env.reset(seed=0, options={"task": {"opponent": "pusher", "version": 2}})
    still = np.zeros(env.action_space.shape)
    env.step(still)
    twin = pickle.loads(pickle.dumps(env))
    assert twin.tasks.versions("pusher") == [2]
    for _ in range(3):
        np.testing.assert_array_equal(env.step(still)[0], twin.step(still)[0])
    twin.tasks.add("another", 0, None)
    assert "another" not in env.tasks.names()


def test_tasks_are_opponents():
    given = ["zero", lambda seen: np.ones((len(seen), 12)), "zero"]
    env = gymnasium.make(WORLD, opponent=given, test_opponents=["opponent-2"], physics="fast").unwrapped
    task = lambda number: {"opponent": f"opponent-{number}", "version": 0}  # noqa: E731
    assert env.tasks.enumerate("train") == [task(0), task(1)]
    assert env.tasks.enumerate("test") == [task(2)]
    assert env.reset(seed=0, options={"task": task(1)})[1]["task"] == task(1)
    moved = env.step(np.zeros(8))[0]
    env.reset(seed=0, options={"task": task(2)})
    still = env.step(np.zeros(8))[0]
    assert (moved != still).any()
    env.reset(seed=0, options={"task": task(0)})
    np.testing.assert_array_equal(env.step(np.zeros(8))[0], still)
    env.world.shaping = 0.0
    assert env.step(np.ones(8))[1] == 0


def test_a_version_that_is_replaced_is_met_from_the_next_match_on():
    arrays = {
        "obs_mean": np.zeros(164),
        "obs_std": np.ones(164),
        "obs_clip": np.array(5.0),
        "log_std": np.full(12, -50.0),
        "layers.0.weight": np.zeros((12, 164)),
        "layers.0.bias": np.full(12, 0.5),
    }
    env = gymnasium.make(WORLD, physics="fast").unwrapped
    sent = env.world.match.simulation.bind("ctrl")[0, 8:]
    env.tasks.add("x", 0, arrays)
    env.reset(seed=0, options={"task": {"opponent": "x", "version": 0}})
    env.tasks.add("x", 0, arrays | {"layers.0.bias": np.full(12, -0.5)})
    env.step(np.zeros(8))
    assert set(sent) == {0.5}
    env.reset()
    env.step(np.zeros(8))
    assert set(sent) == {-0.5}


def test_one_name_may_be_held_out_and_the_pairing_given_by_its_id():
    made = {"opponent": ["zero", "zero"], "pairing": "RoboSumo-Ant-vs-Ant-v0"}
    env = gymnasium.make(WORLD, test_opponents="opponent-1", **made).unwrapped
    assert env.tasks.names("test") == ["opponent-1"]
    assert env.world.match.names == ("Ant", "Ant")


def test_a_result_is_told_once():
    env = gymnasium.make(WORLD, horizon=3, physics="fast").unwrapped
    env.reset(seed=0)
    steps = [env.step(np.zeros(8)) for _ in range(3)]
    assert [step[4]["outcome"] for step in steps] == [0, 0, 3]
    assert [step[3] for step in steps] == [False, False, True]
    assert steps[2][4]["reward_draw"] == -1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opponent": "zeros"}, "did you mean 'zero'"),
        ({"opponent": 3}, "got int"),
        ({"opponent": ["zero"], "test_opponents": ["opponent-1"]}, "did you mean 'opponent-0'"),
        ({"opponents": "/nowhere"}, "no pool of opponents"),
        ({"oponent": "zero"}, "did you mean 'opponent'"),
        ({"opponent": "zero", "opponents": "/nowhere"}, "who takes its place, got both"),
        ({"opponent": ["zero"], "test_opponents": "opponent-1"}, "did you mean 'opponent-0'"),
        ({"opponents": "nowhere"}, "no pool of opponents at 'nowhere'"),
        ({"opponents": 3}, "opponents must be a word, got 3"),
        ({"test_opponents": 3}, "test_opponents must be a word or a list of words, got 3"),
    ],
)
def test_wrong_opponents_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        gymnasium.make(WORLD, **arguments)


@pytest.mark.parametrize(
    ("opponent", "message"),
    [
        (lambda seen: np.zeros(12), r"an opponent gave actions of shape \(12,\), expected \(1, 12\)"),
        (lambda seen: np.full((1, 12), np.nan), "an opponent gave actions that are no numbers"),
    ],
)
def test_wrong_actions_of_opponents_are_named(opponent, message):
    env = gymnasium.make(WORLD, opponent=opponent)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(env.action_space.sample())


def test_a_policy_of_stable_baselines_is_an_opponent():
    from stable_baselines3 import PPO

    from metarl.envs.sb3 import as_sb3

    trained = PPO("MlpPolicy", as_sb3("metarl/RoboSumo-Bug-vs-Ant-v0", 2), n_steps=8, batch_size=8, seed=0)
    env = gymnasium.make(WORLD, opponent=trained, physics="fast").unwrapped
    runs = []
    for _ in range(2):
        env.reset(seed=0)
        runs.append(np.stack([env.step(np.zeros(8))[0] for _ in range(10)]))
    np.testing.assert_array_equal(*runs)
    env.reset(seed=0)
    seen = env.world.match.observe_side(1)
    env.step(np.zeros(8))
    sent = env.world.match.simulation.bind("ctrl")[0, 8:]
    np.testing.assert_array_equal(sent, trained.predict(seen, deterministic=True)[0][0])


def test_a_game_tells_its_rounds():
    arguments = {
        "opponent": "zero",
        "physics": "fast",
        "horizon": 1,
        "lifetime": {"schedule": "rising-versions", "rounds": 2, "episodes_per_round": 2},
    }
    env = gymnasium.make(WORLD, **arguments)
    rounds = []
    for number in range(5):
        rounds.append(env.reset(seed=0 if number == 0 else None)[1]["round_index"])
        assert env.step(np.zeros(8))[4]["round_index"] == rounds[-1]
    assert rounds == [0, 0, 1, 1, 0]
    task = {"opponent": "opponent", "version": 0}
    assert env.reset(options={"task": task})[1]["round_index"] == -1
    assert "round_index" not in gymnasium.make(WORLD, physics="fast", lifetime="redraw").reset(seed=0)[1]
