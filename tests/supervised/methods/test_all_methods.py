"""What every few-shot method must do, whatever it computes."""

import subprocess
import sys
from dataclasses import replace
from functools import cache, partial

import pytest
import torch

from metarl.configs import from_dict, to_dict
from metarl.supervised.datasets import DATASETS
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.methods import METHODS, build, preset
from metarl.supervised.methods.config import Backbone
from metarl.supervised.normalisation import estimate_running
from metarl.tasks import over_tasks
from tests.supervised import front

VARIANTS = {
    **{name: (name, {}) for name in METHODS},
    "prototypical, cosine": ("prototypical", {"distance": "cosine"}),
    "matching, full context": ("matching", {"full_context": True}),
    "matching, squared": ("matching", {"distance": "squared"}),
    "t-net, masked": ("t-net", {"masked": True}),
    "gaussian-prototypical, diagonal": ("gaussian-prototypical", {"certainty": "diagonal"}),
}
WAY, SHOT, QUERY = 4, 2, 3
SMALL_STEPS = {"versa": 1e-3}
"""Step sizes of what does not learn with 0.01."""
HEAD_PER_CLASS = {"maml", "fomaml", "reptile", "anil", "meta-sgd", "maml++", "cavia", "mtl"} | {
    "meta-curvature",
    "t-net",
    "geodesic",
    "meta-lstm",
    "mlap",
}
"""Methods whose classes start from rows of their own of a linear head: which class comes first matters to them."""

UNTAUGHT_BY_QUERIES = ("nearest-centroid", "reptile")
"""Nothing is trained, or by the support alone."""


def tiny(name, changes=()):
    """A method's preset with the smallest network that it can do with."""
    config = replace(preset(name, "strokes", WAY, SHOT), **dict(changes))
    if not hasattr(config, "backbone"):
        return config
    if name == "leo":
        config = replace(config, frozen=False)
    if name == "mlap":
        config = replace(config, tasks=2, test_steps=2)
    if hasattr(config, "inner"):
        inner = replace(config.inner, steps=min(2, config.inner.steps), test_steps=2)
        config = replace(config, inner=inner)
    small = Backbone("relation" if config.backbone.name == "relation" else "conv4", channels=8)
    return replace(config, backbone=small)


@cache
def store():
    return front.load_once("strokes", "train").subset(range(12))


def made(variant, dtype=torch.float64):
    """The method and its params; running averages are stored."""
    name, changes = VARIANTS[variant]
    torch.manual_seed(0)
    method = build(name, tiny(name, changes), store().image, store().num_classes, WAY, SHOT)
    method.module.to(dtype)
    params = dict(method.module.named_parameters())
    estimate_running(
        method.module,
        lambda one: method.task(params, one, "joint"),
        [drawn(seed=9, dtype=dtype, tasks=None)],
    )
    return method, params


def drawn(way=WAY, shot=SHOT, query=QUERY, tasks=None, seed=0, dtype=torch.float64):
    """Episodes of drawings; without a leading axis where tasks is None."""
    draw = torch.Generator().manual_seed(seed)
    many = EpisodeSampler(store(), way, shot, query).draw(tasks or 1, draw)
    many = many._replace(support=many.support.to(dtype), query=many.query.to(dtype))
    return many if tasks else Episode(*(each[0] for each in many))


def relabelled(episode, way, turn=1):
    """The same episode with its classes in another order (but for turn 0), rows sorted by class as ever.

    Returns:
        The episode, which row of the old one each query is, and which class each class is.
    """
    order = torch.arange(way).roll(turn)
    shots = [each.view(way, -1, *each.shape[1:]) for each in (episode.support, episode.query)]
    rows = torch.arange(len(episode.query)).view(way, -1)[order].flatten()
    # Support images of a class also change places.
    support, query = shots[0][order].flip(1).flatten(0, 1), shots[1][order].flatten(0, 1)
    changed = episode._replace(support=support, query=query, classes=episode.classes[order])
    return changed, rows, order


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("statistics", ["joint", "running"])
def test_the_order_of_classes_and_of_a_classs_images_does_not_matter(variant, statistics):
    method, params = made(variant)
    episode = drawn()
    turn = 0 if VARIANTS[variant][0] in HEAD_PER_CLASS else 1
    changed, rows, order = relabelled(episode, WAY, turn)
    with torch.no_grad():
        loss, scores = method.task(params, episode, statistics)
        other, permuted = method.task(params, changed, statistics)
    torch.testing.assert_close(permuted, scores[rows][:, order])
    torch.testing.assert_close(other, loss)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("statistics", ["support", "running", "one_query"])
def test_a_query_does_not_see_the_others(variant, statistics):
    method, params = made(variant)
    episode = drawn()
    kept = torch.arange(WAY * QUERY).view(WAY, QUERY)[:, :1].flatten()
    fewer = episode._replace(query=episode.query[kept], query_labels=episode.query_labels[kept])
    with torch.no_grad():
        scores = method.task(params, episode, statistics)[1]
        torch.testing.assert_close(method.task(params, fewer, statistics)[1], scores[kept])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_query_is_not_classified_by_its_label(variant):
    method, params = made(variant)
    episode = drawn()
    wrong = episode._replace(query_labels=episode.query_labels.roll(5))
    with torch.no_grad():
        loss, scores = method.task(params, episode, "joint")
        other, same = method.task(params, wrong, "joint")
    assert torch.equal(scores, same)
    assert loss != other


@pytest.mark.parametrize("variant", VARIANTS)
def test_vmap_loop_and_threads_agree(variant, request):
    method, params = made(variant)
    before = torch.get_num_threads()
    request.addfinalizer(partial(torch.set_num_threads, before))
    torch.set_num_threads(2)
    episodes = drawn(tasks=2)
    found = {}
    for how in ("loop", "vmap", "threads"):
        losses, scores = over_tasks(partial(method.task, statistics="joint"), how=how)(params, episodes)
        wanted = [each for each in params.values() if each.requires_grad]
        grads = torch.autograd.grad(losses.sum(), wanted, allow_unused=True) if wanted else ()
        found[how] = losses.detach(), scores, [torch.zeros(()) if g is None else g for g in grads]
    torch.testing.assert_close(found["vmap"], found["loop"], rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(found["threads"], found["loop"], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("way", "shot", "query"), [(2, 1, 1), (7, 1, 2), (3, 5, 4)])
def test_ways_and_shots_may_change_after_training(variant, way, shot, query):
    if variant == "cavia" and way > WAY:
        pytest.skip("refused: the head does not adapt")
    method, params = made(variant)
    with torch.no_grad():
        loss, scores = method.task(params, drawn(way, shot, query), "running")
    assert scores.shape == (way * query, way)
    assert scores.isfinite().all()
    assert loss.shape == ()
    assert loss.isfinite()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in UNTAUGHT_BY_QUERIES])
def test_it_learns_one_episode_by_heart(variant):
    method, params = made(variant, torch.float32)
    episode = drawn(dtype=torch.float32, seed=3)
    shuffled = torch.randperm(WAY * QUERY, generator=torch.Generator().manual_seed(1))
    episode = episode._replace(query=episode.query[shuffled])  # nothing but the labels says what is what
    adam = torch.optim.Adam(params.values(), SMALL_STEPS.get(variant, 0.01))
    for _ in range(400):
        loss, scores = method.task(params, episode, "transductive")
        right = (scores.argmax(-1) == episode.query_labels).float().mean()
        if right == 1:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert right == 1


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("data", DATASETS)
def test_settings_survive_being_stored(name, data):
    for way, shot in ((5, 1), (5, 5), (20, 1), (20, 5)):
        config = preset(name, data, way, shot)
        assert from_dict(type(config), to_dict(config)) == config


def test_settings_need_no_torch():
    lines = f"""
import sys
from metarl.supervised.methods import preset
for name in {list(METHODS)}:
    preset(name)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", lines], check=True)
