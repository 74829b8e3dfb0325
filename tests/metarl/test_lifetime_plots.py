"""The picture of lifetimes: panels, lines, legend."""

import pytest

from metarl import lifetime_plots
from metarl.lifetime_plots import lifetime_curves

pytest.importorskip("matplotlib")
METHODS = ("ours", "ours, not adapting", "ppo")


def rows(groups, methods=METHODS, episodes=3):
    return [
        {
            "method": m,
            "group": g,
            "episode": e + 1,
            "mean": 10.0 * i - e,
            "low": 10.0 * i - e - 2,
            "high": 10 * i,
        }
        for g in groups
        for i, m in enumerate(methods)
        for e in range(episodes)
    ]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved."""
    saved = []
    real = lifetime_plots.save
    monkeypatch.setattr(lifetime_plots, "save", lambda figure, out: saved.append(figure) or real(figure, out))
    return saved


def test_a_panel_for_each_group_and_a_line_for_each_method(tmp_path, figures):
    out = lifetime_curves(rows(["legs 1 2", "legs 3 4", "all"]), tmp_path / "new" / "l.png")
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    (figure,) = figures
    assert [axes.get_title() for axes in figure.axes] == ["legs 1 2", "legs 3 4", "all"]
    for axes in figure.axes:
        assert [line.get_label() for line in axes.lines] == list(METHODS)
        assert axes.lines[1].get_ydata().tolist() == [10, 9, 8]
        assert axes.lines[1].get_xdata().tolist() == [1, 2, 3]
        assert len(axes.collections) == 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(METHODS)


def test_an_agent_keeps_its_colour_and_no_two_lines_look_alike(tmp_path, figures):
    lifetime_curves(rows(["all"]), tmp_path / "l.png")
    ours, not_adapting, ppo = figures[0].axes[0].lines
    assert ours.get_color() == not_adapting.get_color() != ppo.get_color()
    assert ours.get_linestyle() != not_adapting.get_linestyle()


@pytest.mark.parametrize("groups", [["all"], [f"legs {i}" for i in range(12)] + ["all"]])
def test_the_legend_hides_no_data(tmp_path, figures, groups):
    lifetime_curves(rows(groups), tmp_path / "l.png", title="World-v0")
    (figure,) = figures
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert len(visible) == len(groups)
    assert sum(axes.get_xlabel() != "" for axes in visible) == min(4, len(groups))
    for axes in visible:
        assert not legend.overlaps(axes.get_tightbbox())  # with the names of the axes
        assert figure.bbox.contains(*axes.get_window_extent().min)


@pytest.mark.parametrize("length", [10, 30, 60])
def test_the_legend_fits_the_picture(tmp_path, figures, length):
    methods = [f"{i}{'m' * length}" for i in range(8)]
    lifetime_curves(rows(["a", "b", "c", "all"], methods), tmp_path / "l.png")
    (figure,) = figures
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= legend.y0


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        lifetime_curves([], tmp_path / "l.png")
