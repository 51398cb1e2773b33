"""Draws what the benchmarks wrote: a picture of the newest result of each, beside its file.

`python -m benchmarks.plots` draws all there are, or only those it is given, such as `ycsb`. Bars
are medians of rounds, thin lines reach from the lowest to the highest round, black marks are goals.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vasmem.bench import machine
from vasmem.bench import workload as workloads

from . import attach, clients, harness, paired, space, together, ycsb

Result = dict[str, Any]
Figures = Sequence[Sequence[float]]
COLOURS = {
    "vasmem": "#2a6f97",
    "lmdb": "#c9a227",
    "floor": "#a9a9a9",
    "floor-2m": "#bdbdbd",
    "private": "#d9d9d9",
}
SECOND = "#89c2d9"
MORE, LESS = "more is better", "less is better"
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": "0.92",
    "ytick.left": False,
    "legend.frameon": False,
}


def bars(
    axes: Axes,
    labels: Sequence[str],
    figures: Figures,
    *,
    colour: str | Sequence[str] = COLOURS["vasmem"],
    goals: Sequence[float | None] = (),
    form: str = "{:.1f}",
) -> None:
    """Lying bars from the top, each with spread, goal, and, at the right edge, its number."""
    middle = [figure[0] for figure in figures]
    places = range(len(labels))
    axes.barh(places, middle, height=0.66, color=colour)
    for place, (median, low, high) in enumerate(figures):
        axes.plot([low, high], [place, place], color="0.25", linewidth=1)
        edge = axes.get_yaxis_transform()
        axes.text(1, place, form.format(median), transform=edge, ha="right", va="center")
    drawn = [(place, goal) for place, goal in enumerate(goals) if goal is not None]
    if drawn:
        at, goal_places = [goal for _, goal in drawn], [place for place, _ in drawn]
        low, high = [p - 0.42 for p in goal_places], [p + 0.42 for p in goal_places]
        axes.vlines(at, low, high, color="black", linewidth=2, label="goal", zorder=3)
    axes.axvline(0, color="0.3", linewidth=1)
    axes.set_yticks(places, labels=labels)
    axes.invert_yaxis()
    axes.margins(x=0.16)


def name_axes(axes: Axes, title: str, better: str = "") -> None:
    """Title and legend above the drawing, and which direction is the good one."""
    axes.set_title(title)
    axes.set_xlabel(better, fontsize=9, color="0.4")
    if axes.get_legend_handles_labels()[1]:
        above = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}
        axes.legend(fontsize=8, ncols=4, handlelength=1.4, columnspacing=1, **above)


def of_paired(result: Result, figure: Figure) -> str:
    rows = result["ratios"]["vasmem"]
    panels = (
        ("lmdb", "lmdb", "times as fast as py-lmdb", MORE, COLOURS["vasmem"]),
        ("floor-2m", "floor", "time in floors, both in huge pages", LESS, SECOND),
    )
    for axes, (other, goal, title, better, colour) in zip(
        figure.subplots(1, 2), panels, strict=True
    ):
        names = [name for name in rows if rows[name].get(other)]
        goals = [getattr(paired.BARS[name], goal) for name in names]
        bars(axes, names, [rows[name][other] for name in names], goals=goals, colour=colour)
        axes.axvline(1, color="0.6", linewidth=1)
        name_axes(axes, title, better)
    return f"{result['arguments']['records']:,} records of 16 + 100 bytes, one process"


def of_ycsb(result: Result, figure: Figure) -> str:
    time_axes, ratio_axes = figure.subplots(1, 2)
    times = paired.collect(result["rounds ns"])
    stores = [name for name in COLOURS if name in result["arguments"]["stores"]]
    height = 0.8 / len(stores)
    for number, store in enumerate(stores):
        spreads = [workloads.Spread.of(taken[store]) for taken in times.values()]
        at = [place + (number - (len(stores) - 1) / 2) * height for place in range(len(times))]
        middle = [spread.median for spread in spreads]
        time_axes.barh(at, middle, height * 0.92, color=COLOURS[store], label=store)
        for place, spread in zip(at, spreads, strict=True):
            time_axes.plot(spread[1:], [place, place], color="0.25", linewidth=1)
            text = f"{spread.median:.0f}"
            time_axes.annotate(
                text, (spread.high, place), (5, 0), textcoords="offset points", va="center"
            )
    labels = [f"{name}: {ycsb.MIXES[name].reads:.0%} reads" for name in times]
    time_axes.set_yticks(range(len(times)), labels=labels)
    time_axes.invert_yaxis()
    time_axes.margins(x=0.14)
    name_axes(time_axes, "ns per operation", LESS)
    fast = [result["ratios"]["vasmem"][name]["lmdb"] for name in times]
    bars(ratio_axes, labels, fast, goals=[ycsb.MIXES[name].bar for name in times])
    name_axes(ratio_axes, "times as fast as py-lmdb", MORE)
    return f"YCSB, zipfian 0.99, {result['arguments']['records']:,} records of 16 + 100 bytes"


def of_attach(result: Result, figure: Figure) -> str:
    axes = figure.subplots()
    taken = {int(size): times for size, times in result["attach and get ms"].items()}
    spreads = [workloads.Spread.of(times) for times in taken.values()]
    for size, times in taken.items():
        axes.scatter([size] * len(times), times, s=8, color="0.75", zorder=1)
    middle = [spread.median for spread in spreads]
    axes.plot(list(taken), middle, marker="o", color=COLOURS["vasmem"], label="median")
    axes.axhline(attach.BAR_MS, color="black", linewidth=2, label="goal")
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.margins(y=0.2)
    axes.grid(axis="both")
    name_axes(axes, "ms from attach to the first value", "records in the segment")
    return "each point is a process of its own"


def of_space(result: Result, figure: Figure) -> str:
    axes = figure.subplots()
    taken = {int(size): figures for size, figures in result["bytes per entry"].items()}
    labels = [f"{size} bytes" for size in taken]
    own = [workloads.KEY_BYTES + size for size in taken]
    every = [figures["all"] / net for figures, net in zip(taken.values(), own, strict=True)]
    used = [figures["used"] / net for figures, net in zip(taken.values(), own, strict=True)]
    goals = [space.BAR if size == space.BAR_VALUE_BYTES else None for size in taken]
    spreads = [(figure, figure, figure) for figure in every]
    bars(axes, labels, spreads, colour=SECOND, goals=goals, form="{:.2f}")
    axes.barh(range(len(used)), used, height=0.66, color=COLOURS["vasmem"], label="blocks in use")
    axes.barh(0, 0, color=SECOND, label="the whole file")
    axes.axvline(1, color="0.6", linewidth=1)
    axes.set_ylabel("value")
    name_axes(axes, "bytes per key + value", LESS)
    return f"{result['arguments']['records']:,} records, keys of 16 bytes"


def of_together(result: Result, figure: Figure) -> str:
    two_axes, loss_axes = figure.subplots(1, 2)
    stores = [name for name in COLOURS if name in result["figures"]]
    colours = [COLOURS[name] for name in stores]
    goals = [together.BARS[0] if name == "vasmem" else None for name in stores]
    two = [result["figures"][name]["two readers"] for name in stores]
    bars(two_axes, stores, two, colour=colours, goals=goals, form="{:.2f}")
    name_axes(two_axes, "what two readers do, in readers", MORE)
    labels, losses, loss_goals, loss_colours = [], [], [], []
    for name in stores:
        for role, goal in zip(("reader", "writer"), together.BARS[1:3], strict=True):
            labels.append(f"{name}: {role}")
            losses.append(result["figures"][name][f"{role} loses %"])
            loss_goals.append(goal if name == "vasmem" else None)
            loss_colours.append(COLOURS[name])
    bars(loss_axes, labels, losses, colour=loss_colours, goals=loss_goals, form="{:.0f} %")
    name_axes(loss_axes, "% lost beside the other", LESS)
    return "a process a core; private: nothing is shared, so what it loses is the machine's doing"


def of_clients(result: Result, figure: Figure) -> str:
    panels = figure.subplots(1, len(clients.READ_SHARES), sharey=True)
    colours = {"redis-py": COLOURS["lmdb"], "vasmem": COLOURS["vasmem"]}
    for axes, share in zip(panels, clients.READ_SHARES, strict=True):
        for store, rates in result["rates"].items():
            thousands = [rates[f"{count} {share}"] / 1e3 for count in result["clients"]]
            colour = colours.get(store, SECOND)
            axes.plot(result["clients"], thousands, marker="o", color=colour, label=store)
        axes.set_yscale("log")
        axes.set_xticks(result["clients"])
        axes.grid(axis="both")
        axes.set_title(f"{share:.0%} reads")
        axes.set_xlabel("clients", fontsize=9, color="0.4")
    panels[0].set_ylabel("thousand commands a second")
    panels[0].legend(loc="center", fontsize=8)
    return "GET and SET of 4-byte values, all clients together"


DRAWINGS: dict[str, tuple[Callable[[Result, Figure], str], tuple[float, float]]] = {
    "paired": (of_paired, (11, 4.6)),
    "ycsb": (of_ycsb, (11, 3.6)),
    "attach": (of_attach, (7, 4)),
    "space": (of_space, (7, 3.6)),
    "together": (of_together, (11, 3.8)),
    "clients": (of_clients, (11, 3.8)),
}


def draw(name: str, result: Result) -> str:
    """Writes the picture; its path."""
    of, size = DRAWINGS[name]
    figure = plt.figure(figsize=size, layout="constrained")
    what = of(result, figure)
    facts = result["machine"]
    where = f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}"
    busy = max(result.get("cores used by others", [0]))
    warning = f"; other processes used up to {busy:.1f} cores" if busy > machine.OTHERS_MAX else ""
    figure.supxlabel(f"{what}; {where}, Python {facts['python']}{warning}", fontsize=8, color="0.4")
    path = harness.RESULTS / f"{name}.png"
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.plots", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(DRAWINGS))
    names = parser.parse_args().names or list(DRAWINGS)
    mpl.use("agg")
    with mpl.rc_context(STYLE):
        for name in names:
            result = harness.newest_result(name)
            print(draw(name, result) if result else f"{name}: no result in {harness.RESULTS}")


if __name__ == "__main__":
    main()
