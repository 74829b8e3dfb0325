"""The page that TensorBoard opens with: what the layout says, what the event files hold, what a browser shows."""

import re
import subprocess
from dataclasses import replace

import pytest

from metarl.agents import AGENTS, preset
from metarl.agents.dashboard import lifetimes_layout, training_layout
from metarl.agents.experiment import Experiment
from metarl.agents.experiments import train
from metarl.agents.lifetimes import judge
from metarl.commands.watch import first_page, free_port, tensorboard
from tests.agents.browser import CHROMIUM, opened
from tests.agents.test_lifetime_evaluation import Made, protocol

LEGS = ["legs 1 2", "legs 3 4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny real run, its agent's lives made up."""
    config = preset("meta-sgd")
    config = replace(config, sampling=replace(config.sampling, tasks=2, trajectories=3, horizon=5))
    config = replace(config, policy=replace(config.policy, hidden=(4,)))
    root = tmp_path_factory.mktemp("runs")
    experiment = Experiment(world="metarl/PointNavigation-v0", steps=240, out=str(root), evaluate_every=1)
    trained = train("meta-sgd", experiment, config, quiet=True)
    judge(trained.run, Made(), protocol(), lifetimes=2, quiet=True)
    return trained.path


def charts(layout, tag):
    """The charts of the first category that draw a tag."""
    patterns = next(iter(layout.values()))
    return [name for name, found in patterns.items() if any(re.match(each, tag) for each in found)]


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agents_page_begins_with_adaptation(agent):
    layout = training_layout(preset(agent), LEGS)
    assert list(layout) == ["adaptation", "training", "time"]
    assert all(charts for charts in layout.values())
    assert len(charts(layout, "adapt/return_2")) == hasattr(preset(agent), "inner")


def test_lifetimes_come_first_where_they_are_trained_for():
    layout = training_layout(preset("continuous-adaptation"), LEGS)
    first, second, third, *_ = layout["adaptation"]
    assert charts(layout, "lifetime/return_7") == [first]
    assert charts(layout, "lifetime/legs 1 2/return_3") == [second]
    assert charts(layout, "lifetime/legs 3 4/return_3") == [third]
    for tag in ("lifetime/effective_sample_size_2", "lifetime/inner_kl_2", "inner/step_size_1", "inner/kl_0"):
        assert len(charts(layout, tag)) == 1, tag
    assert not charts(training_layout(preset("promp"), LEGS), "lifetime/return_7")  # it knows none
    assert charts(training_layout(preset("ppo"), LEGS), "lifetime/return_7") == [first]
    assert not charts(training_layout(preset("ppo"), None), "lifetime/return_7")
    assert len(charts(training_layout(preset("ppo"), None), "eval/return_0")) == 1


def test_evaluated_lifetimes_are_not_mixed_with_those_of_training():
    layout = lifetimes_layout(LEGS, ["speed"])
    for tag in ("lifetime/return", "lifetime/legs 1 2/return", "lifetime/speed"):
        assert len(charts(layout, tag)) == 1
    for tag in ("lifetime/return_1", "lifetime/legs 1 2/return_1", "lifetime/speed_2"):
        assert not charts(layout, tag)


def test_the_event_files_hold_the_layout(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    def layout_of(place):
        board = EventAccumulator(str(place))
        board.Reload()
        (event,) = board.Tensors(metadata.CONFIG_SUMMARY_TAG)
        found = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
        titles = {
            each.title: {chart.title: list(chart.multiline.tag) for chart in each.chart}
            for each in found.category
        }
        return titles, board.Tags()["scalars"]

    written, tags = layout_of(folder)
    assert written == training_layout(preset("meta-sgd"), None)
    drawn = {tag for tag in tags if charts(written, tag)}
    assert {"adapt/return_0", "adapt/return_1", "eval/return_0", "inner/step_size_1", "inner/kl_0"} <= drawn
    written, tags = layout_of(folder / "lifetimes" / "none")
    assert {tag for tag in tags if charts(written, tag)} == {
        "lifetime/return",
        "lifetime/speed",
        "lifetime/legs 1 2/return",
        "lifetime/legs 3 4/return",
    }


def test_watch_opens_the_page_only_where_a_run_has_one(folder, tmp_path):
    assert first_page(folder).startswith("#custom_scalars")
    assert first_page(folder.parent.parent.parent).startswith("#custom_scalars")
    assert first_page(tmp_path).startswith("#custom_scalars")  # runs that are still to come
    (tmp_path / "events.out.tfevents.1").write_bytes(b"numbers")
    assert first_page(tmp_path) == ""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_adaptation_first(folder, tmp_path):
    port = free_port("localhost", 16006, tries=200)
    server = subprocess.Popen(
        tensorboard(folder, "localhost", port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        from metarl.commands.watch import open_when_ready

        assert open_when_ready("", "localhost", port, opener=lambda url: True)
        with opened(f"http://localhost:{port}/{first_page(folder)}", tmp_path / "profile") as page:
            text = page.wait_for("return before and after inner steps, test tasks", "Matches (4)")
            page.picture(tmp_path / "page.png")
    finally:
        server.terminate()
        server.wait(timeout=20)
    order = [text.index(f" {word} ") for word in ("adaptation", "training", "time")]
    assert order == sorted(order)
    for shown in (
        "learned step sizes",
        "inner KL in training",
        "evaluated lifetimes, legs 1 2: return by episode",
    ):
        assert shown in text
    assert "lifetimes/none" in text  # a line of its own for each way to live
    assert (tmp_path / "page.png").stat().st_size > 30_000
