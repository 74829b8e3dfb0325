"""Matches between policies, tournaments and ratings."""

import json

import numpy as np
import pytest
import torch

from metarl import checkpoints
from metarl.envs.contestants import Contestant, contestant, everyone
from metarl.envs.contests import Contest, film, pairs, play, proportion_interval
from metarl.envs.opponent_tasks import read_pool
from metarl.envs.opponents import OpponentPolicy
from metarl.envs.ratings import Rating, rate, win_probability
from metarl.envs.sumo_matches import SumoMatches
from metarl.envs.sumo_rules import Result
from metarl.envs.sumo_single import RoboSumoSingle
from metarl.envs.zoo import ZOO_FOLDER


def policy(bias: float, size: int = 120, actions: int = 8) -> OpponentPolicy:
    return OpponentPolicy(
        {
            "obs_mean": np.zeros(size),
            "obs_std": np.ones(size),
            "obs_clip": np.array(5.0),
            "log_std": np.full(actions, -1.0),
            "layers.0.weight": np.zeros((actions, size)),
            "layers.0.bias": np.full(actions, bias),
        }
    )


def quiet(given: OpponentPolicy) -> OpponentPolicy:
    return OpponentPolicy({**given.arrays, "log_std": np.full(8, -100.0)})


def pool(folder):
    for name, version, size, actions in (("a", 1, 120, 8), ("a", 12, 120, 8), ("b", 3, 208, 16)):
        arrays = {n: torch.tensor(x) for n, x in policy(version / 100, size, actions).arrays.items()}
        checkpoints.save(folder / name / f"v{version:04d}", arrays, {"version": version})
    return folder


def test_a_wrestler_is_found_by_name_version_file_and_run(tmp_path):
    place = pool(tmp_path / "pool")
    assert contestant("a", place).name == "a@12"
    assert contestant("a@1", place).body == "Ant"
    assert contestant("b@v3", place).body == "Spider"
    assert contestant(str(place / "a" / "v0012.safetensors")).name == "a@12"
    assert contestant("zero-bug") == Contestant("zero-bug", "Bug", None)
    assert [each.name for each in everyone(place)] == ["a@1", "a@12", "b@3"]
    run = tmp_path / "run"
    (run / "opponents").mkdir(parents=True)
    (place / "a").rename(run / "opponents" / "self")
    assert contestant(f"{run}@1").name == "run@1"
    assert contestant(str(run / "opponents" / "self" / "v0001.safetensors")).name == "run@1"
    (run / "opponents" / "self").rename(tmp_path / "at@home")
    assert contestant(str(tmp_path / "at@home" / "v0012.safetensors")).name == "at@home@12"
    (run / "opponents" / "self").mkdir()
    (tmp_path / "at@home").rename(run / "opponents" / "other")
    with pytest.raises(ValueError, match=r"has no versions in .* yet"):
        contestant(str(run))


def test_a_folder_of_the_same_name_does_not_hide_a_wrestler_of_the_pool(tmp_path, monkeypatch):
    place = pool(tmp_path / "pool")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert contestant("a@1", place).name == "a@1"


def test_digests_tell_wrestlers_of_one_name_apart(tmp_path):
    place = pool(tmp_path)
    ours, again = (contestant("a@1", place) for _ in range(2))
    assert ours.digest == again.digest != contestant("a@12", place).digest
    assert contestant("zero-ant").digest != contestant("zero-bug").digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aa", "did you mean 'a'"),
        ("a@2", "no version '2': it has 1, 12"),
        ("zero-cat", "did you mean 'zero-ant'"),
        ("zero-ant@3", "'zero-ant' has no versions"),
        ("gait-spidr", "did you mean 'gait-spider'"),
    ],
)
def test_who_is_not_there_is_said_with_the_nearest(tmp_path, text, message):
    place = pool(tmp_path)
    with pytest.raises(ValueError, match=message):
        contestant(text, place)
    with pytest.raises(ValueError, match="no run of self-play"):
        contestant(str(tmp_path))


def test_matches_are_the_same_again_and_however_many_follow():
    one, two = Contestant("one", "Ant", policy(0.9)), Contestant("zero-spider", "Spider", None)
    found = play(one, two, num=3, seed=5)
    assert found == play(one, two, num=3, seed=5)
    assert play(one, two, num=1, seed=5).results == found.results[:1]
    assert Result.NONE not in found.results
    calm = play(one, two, num=3, seed=5, deterministic=True)
    assert calm == play(Contestant("one", "Ant", quiet(one.policy)), two, num=3, seed=5)
    with pytest.raises(ValueError, match="1 match or more"):
        play(one, two, num=0)
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        play(one, two, num=1, seed=-1)


def test_each_side_has_noise_of_its_own(monkeypatch):
    sent, step = [], SumoMatches.step
    monkeypatch.setattr(SumoMatches, "step", lambda self, given: sent.append(given) or step(self, given))
    noisy = OpponentPolicy({**policy(0.0).arrays, "log_std": np.zeros(8)})
    play(Contestant("one", "Ant", noisy), Contestant("two", "Ant", noisy), num=2, seed=5)
    for side in (0, 1):
        for number in (0, 1):
            rng = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(number, side)))
            drawn = rng.standard_normal((2, 8), dtype=np.float32).clip(-1, 1)
            np.testing.assert_array_equal([actions[side][number] for actions in sent[:2]], drawn)


def test_matches_of_neighbouring_seeds_have_nothing_in_common():
    one, two = contestant("ant@7"), contestant("ant@1")
    found = [play(one, two, num=12, seed=seed).results for seed in (0, 1)]
    assert found[0][1:] != found[1][:-1]


def test_a_film_draws_what_it_shows_and_nothing_else(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        SumoMatches, "render", lambda self: drawn.append(self) or np.zeros((2, 2, 3), np.uint8)
    )
    pair = contestant("zero-ant"), contestant("zero-spider")
    numbers = [number for _, number, _ in film(*pair, 2)]
    every = [number for _, number, _ in film(*pair, 2, every=3)]
    for number in (1, 2):  # the first step, every third after it, and the last
        steps = numbers.count(number)
        assert every.count(number) == len({*range(0, steps, 3), steps - 1})
    assert len(drawn) == len(numbers) + len(every)
    assert len(set(map(id, drawn))) == 2, "one scene for all rounds"


def test_a_spider_that_does_nothing_loses_to_an_ant_that_does_nothing():
    found = play(contestant("zero-ant"), contestant("zero-spider"), num=4)
    assert found.count(Result.WIN) == 4
    assert found.wins == 1.0


def test_films_tell_the_round_and_the_score():
    import mujoco

    try:
        mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8).close()
    except Exception as error:
        pytest.skip(f"nothing to draw with: {error}")
    frames = list(film(contestant("zero-ant"), contestant("zero-spider"), 2, size=(64, 48)))
    assert {number for _, number, _ in frames} == {1, 2}
    assert frames[-1][2] == (2, 0)
    assert [score for _, number, score in frames if number == 1][-2:] == [(0, 0), (1, 0)]
    assert frames[0][0].shape == (48, 64, 3)


def test_the_interval_of_a_share_is_wilsons():
    low, high = proportion_interval(9, 10)
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert proportion_interval(0, 10)[0] == 0.0
    assert proportion_interval(10, 10)[1] == 1.0


def test_everyone_meets_everyone_else_once():
    names = [contestant(f"zero-{each}") for each in ("ant", "bug", "spider")]
    assert [(a.body, b.body) for a, b in pairs(names)] == [
        ("Ant", "Bug"),
        ("Ant", "Spider"),
        ("Bug", "Spider"),
    ]


def test_ratings_order_wrestlers_by_their_wins():
    pytest.importorskip("openskill")
    won, lost, drawn = int(Result.WIN), int(Result.LOSS), int(Result.DRAW)
    contests = [
        Contest("strong", "weak", (won,) * 18 + (lost,) * 2),
        Contest("strong", "middle", (won,) * 15 + (lost,) * 5),
        Contest("weak", "middle", (lost,) * 15 + (won,) * 5),
    ]
    found = rate(contests)
    assert [each.name for each in found] == ["strong", "middle", "weak"]
    assert found[0].sigma < 25 / 3
    assert win_probability(found[0], found[2]) > 0.7
    # Phi(5 / sqrt(2 (25/6)^2 + 2^2 + 3^2))
    assert win_probability(Rating("a", 30.0, 2.0), Rating("b", 25.0, 3.0)) == pytest.approx(
        0.765401, abs=1e-6
    )
    assert win_probability(found[0], found[2]) + win_probability(found[2], found[0]) == pytest.approx(1)
    even = rate([Contest("a", "b", (drawn,) * 20)])
    assert even[0].mu == pytest.approx(even[1].mu, abs=1e-9)
    assert Rating("a", 25.0, 5.0).rank == 10.0


def test_matches_whose_physics_broke_down_do_not_count():
    pytest.importorskip("openskill")
    found = rate([Contest("a", "b", (int(Result.NONE),) * 3)])
    assert [each.mu for each in found] == [25.0, 25.0]


@pytest.mark.parametrize("name", sorted(read_pool("zoo")))
def test_every_version_of_the_zoo_fits_its_body_and_says_how_it_was_trained(name):
    versions = [each for each in everyone() if each.name.startswith(f"{name}@")]
    assert len(versions) >= 3
    assert contestant(name).name == versions[-1].name
    wins = []
    for number, each in enumerate(versions, 1):
        assert each.body == name.title()
        described = json.loads((ZOO_FOLDER / name / f"v{number:04d}.json").read_text())
        assert described["world"] == f"metarl/RoboSumo-{each.body}-vs-{each.body}-v0"
        assert {"seed", "physics", "commands", "commit", "config"} <= set(described)
        assert set(described["scores"]) == {"zero-ant", "zero-bug"}
        assert described["steps"] > 0
        wins.append(described["scores"]["zero-ant"]["wins"])
    assert wins[0] < 0.5 < 0.9 <= wins[-1]


@pytest.mark.parametrize("name", sorted(read_pool("zoo")))
def test_the_newest_of_the_zoo_pushes_one_that_stands(name):
    assert play(contestant(name), contestant("zero-ant"), num=16, seed=900).count(Result.WIN) >= 10


def test_the_world_meets_the_wrestlers_of_the_package():
    world = RoboSumoSingle(2, opponents="zoo")
    assert world.tasks.names() == ["ant"]
    assert world.tasks.versions("ant") == list(range(1, len(world.tasks.versions("ant")) + 1))
