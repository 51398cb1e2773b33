"""Draws how long others wait for a killed lock holder, from what the lab's `latency` wrote.

`python -m benchmarks.plot_latency RESULT.json` writes RESULT.png.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

# The bar: p99 below so many ms where the dead process had touched at most so many MiB.
BAR_MS, BAR_MIB = 10, 16
CURVES = (("median", "C0"), ("p90", "C1"), ("p99", "C3"), ("max", "0.6"))


def draw(result: dict[str, Any], path: Path) -> None:
    sizes = result["sizes"]
    touched = [size["MiB"] for size in sizes]
    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    for size in sizes:
        waited = size["waited ms"]
        axes.scatter([size["MiB"]] * len(waited), waited, s=3, color="0.85", zorder=1)
    for name, colour in CURVES:
        figures = [size[f"{name} ms"] for size in sizes]
        axes.plot(touched, figures, marker="o", markersize=4, color=colour, label=name)
    bar = f"p99 to reach: {BAR_MS} ms up to {BAR_MIB} MiB"
    axes.hlines(BAR_MS, touched[0], BAR_MIB, color="black", linestyle="--", label=bar)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(touched, labels=[str(mib) for mib in touched])
    axes.set_xlabel("MiB of private memory that the killed process had touched")
    axes.set_ylabel("ms from SIGKILL to the waiting writer's commit")
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.legend(loc="lower right")
    kills = "/".join(str(len(size["waited ms"])) for size in sizes)
    axes.set_title(f"{result['cores']} cores, Linux {result['kernel']}, {kills} kills", fontsize=9)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.plot_latency", description=__doc__)
    parser.add_argument("result", type=Path, help="JSON file of `latency --json`")
    path = parser.parse_args().result
    mpl.use("agg")
    draw(json.loads(path.read_text()), path.with_suffix(".png"))
    print(path.with_suffix(".png"))


if __name__ == "__main__":
    main()
