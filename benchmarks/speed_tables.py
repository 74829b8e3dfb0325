"""Tables of speed: times of peers beside ours, steps and episodes per second."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from origin import source

from metarl.tables import markdown_table


def meta_gradient(found: list[Mapping[str, Any]]) -> str:
    """How many times as long the peers take for one meta-gradient; median and 95 % interval."""
    (only,) = found
    peers = sorted({peer for case in only["results"] for peer in case["ratio"]})
    rows = []
    for case in only["results"]:
        ratios = [case["ratio"].get(peer) for peer in peers]
        rows.append([case["case"], *(_ratio(each) if each else "" for each in ratios)])
    return markdown_table(["time of a peer / ours", *peers], rows) + source(only)


def _ratio(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.2f} [{ratio['interval_low']:.2f}, {ratio['interval_high']:.2f}]"


def meta_step(found: list[Mapping[str, Any]]) -> str:
    """Time of one meta-step of every method and the memory it needs; beside, those of a peer divided by ours.

    Times are medians with their quartiles, of a ratio within rounds.
    """
    (only,) = found
    peers = list(dict.fromkeys(peer for each in only["results"] for peer in each["ratio"]))
    rows = []
    for each in only["results"]:
        ours = {name: 1e3 * value for name, value in each["spread"]["metarl"].items()}
        memory = np.median(each["peak_bytes"]["metarl"]) / 2**20
        row = [each["method"], _quartiles(ours, ".0f"), f"{memory:.0f}"]
        for peer in peers:
            there = peer in each["ratio"]
            row.append(_quartiles(each["ratio"][peer], ".2f") if there else "")
            row.append(f"{each['memory_ratio'][peer]:.2f}" if there else "")
        rows.append(row)
    beside = [text for peer in peers for text in (f"{peer}: time / ours", "memory / ours")]
    return markdown_table(["method", "ms", "MiB", *beside], rows) + source(only)


def _quartiles(spread: Mapping[str, float], form: str) -> str:
    return f"{spread['median']:{form}} [{spread['quartile_low']:{form}}, {spread['quartile_high']:{form}}]"


def fewshot_episodes(found: list[Mapping[str, Any]]) -> str:
    """Episodes per second: drawing them, and training on them; beside, ours divided by those of a peer.

    Medians over rounds; of a ratio, which is taken within rounds, with quartiles. The share is what drawing takes of an
    update.
    """
    (only,) = found
    rows = []
    for shape, measured in only["episodes_per_second"].items():
        drawing, peers = np.array(measured["drawing"]["metarl"]), sorted({*measured["drawing"]} - {"metarl"})
        for what, name in (("drawing", "metarl"), ("training", "metarl"), ("training", "metarl bfloat16")):
            ours = np.array(measured[what][name])
            share = "" if what == "drawing" else f"{100 * np.median(ours / drawing):.1f} %"
            beside = [_within_rounds(ours / np.array(measured[what][peer])) for peer in peers]
            rows.append(
                [shape, f"{what}{name.removeprefix('metarl')}", f"{np.median(ours):.1f}", share, *beside]
            )
    heads = ["episodes", "what", "episodes/s", "share of drawing", *(f"times {peer}'s" for peer in peers)]
    return markdown_table(heads, rows) + source(only)


def _within_rounds(ratios: np.ndarray) -> str:
    low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"


def cuda_graphs(found: list[Mapping[str, Any]]) -> str:
    """Time of an update launched anew and replayed from a CUDA graph: medians, and the quartiles of their ratio."""
    (only,) = found
    rows = []
    for each in only["results"]:
        times = [f"{1e3 * each['spread'][name]['median']:.1f}" for name in ("anew", "recorded")]
        rows.append([each["data"], each["method"], *times, _quartiles(each["ratio"], ".2f")])
    heads = ["images of", "method", "launched anew, ms", "recorded, ms", "anew / recorded"]
    return markdown_table(heads, rows) + source(only)


def worlds(found: list[Mapping[str, Any]]) -> str:
    """Environment steps per second (wall time) of each way to step a body."""
    (only,) = found
    rows = []
    for body, measured in only["bodies"].items():
        for way, rate in measured["rates"].items():
            wall = rate["wall"]
            low, high = wall["quartile_1"], wall["quartile_3"]
            rows.append([body, way, f"{wall['median']:,.0f} [{low:,.0f}, {high:,.0f}]"])
    heads = ["body", "way to step it, simulations", "steps/s: median [quartiles]"]
    return markdown_table(heads, rows) + source(only)


def hexapod(found: list[Mapping[str, Any]]) -> str:
    """What a trained policy earns under each integrator and step, and how fast the world is with it."""
    (only,) = found
    speeds, rows = only["throughput"], []
    for policy in only["policies"]:
        for name, cell in policy["settings"].items():
            low, high = cell["interval_95"]
            row = [name, f"{cell['return']:.0f}", f"{cell['difference']:.0f} [{low:.0f}, {high:.0f}]"]
            row.append(f"{cell['speed_with_all_legs']:.2f}")
            rate, share = speeds.get(f"metarl {name} 64"), speeds.get(f"metarl {name} 64 / floor")
            rows.append(
                [*row, f"{rate['median']:,.0f}" if rate else "", f"{share['median']:.2f}" if share else ""]
            )
    heads = ["physics", "return", "less RK4's", "m/s, all legs", "steps per CPU second", "of the floor"]
    return markdown_table(heads, rows) + source(only)


def iteration(found: list[Mapping[str, Any]]) -> str:
    """Share of a training iteration by part: the median over iterations."""
    parts = list(found[0]["rows"][0]["shares"])
    rows = []
    for row in (row for each in found for row in each["rows"]):
        speed = row["steps_per_iteration"] / row["seconds_per_iteration"][1]
        shares = [f"{100 * row['shares'][part][1]:.0f} %" for part in parts]
        rows.append([row["world"].removeprefix("metarl/"), row["agent"], *shares, f"{speed:,.0f}"])
    sources = dict.fromkeys(source(each).strip() for each in found)
    return markdown_table(["world", "agent", *parts, "steps/s"], rows) + "\n\n" + "\n\n".join(sources)


def robosumo(found: list[Mapping[str, Any]]) -> str:
    """Control steps per second of every pairing, 64 matches side by side, and their share of the bare physics."""
    (only,) = found
    rows = []
    for pairing, by_physics in only["pairings"].items():
        row = [pairing]
        for measured in by_physics.values():
            share = measured["shares_of_the_floor"]["matches 64"]["cpu"]
            row.append(f"{measured['rates']['matches 64']['cpu']['median']:,.0f}")
            row.append(f"{share['median']:.2f} [{share['quartile_1']:.2f}, {share['quartile_3']:.2f}]")
        rows.append(row)
    heads = [
        f"{text} {name}"
        for name in next(iter(only["pairings"].values()))
        for text in ("steps/s,", "of the floor,")
    ]
    return markdown_table(["pairing", *heads], rows) + source(only)
