"""The picture of a training: loss, learning rate, dev measures, weights, and whatever else was logged."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.tracking.history import Entry, History, offsets

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

FIRST = ("loss", "learning_rate", "dev", "weights")
"""The families drawn first; the others follow by name."""

Series = dict[str, list[list[tuple[int, float]]]]
"""Name → for each stage the points (step over all stages, value)."""


def draw(history: History, path: Path) -> None:
    """Write `curves.png`: one panel a family of series (what stands before the `/`); nothing for an empty history."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = history.entries()
    panels = _panels(entries)
    if not panels:
        return
    starts = offsets(entries)
    last = max(starts[entry.stage] + entry.step for entry in entries)
    rows = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(12 if len(panels) > 1 else 6.5, 3.4 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (family, series) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, min(2, len(panels)), place)
        _panel(axes, family, series)
        axes.set_xlim(0, last * 1.02 + 1)
        _mark_stages(axes, starts)
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png")
    partial.replace(path)


def _panels(entries: Sequence[Entry]) -> dict[str, Series]:
    """The series of each family, the families in the order they are drawn."""
    starts = offsets(entries)
    found: dict[str, dict[str, dict[int, list[tuple[int, float]]]]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.stage, entry.step)):
        for name, value in entry.values.items():
            stages = found.setdefault(name.partition("/")[0], {}).setdefault(name, {})
            stages.setdefault(entry.stage, []).append((starts[entry.stage] + entry.step, value))
    order = [*(family for family in FIRST if family in found), *sorted(found.keys() - set(FIRST))]
    return {
        family: {name: list(s.values()) for name, s in sorted(found[family].items(), key=_natural)} for family in order
    }


def _natural(item: tuple[str, Any]) -> list[tuple[int, str]]:
    """`layer_2` before `layer_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", item[0])]


def _panel(axes: Axes, family: str, series: Series) -> None:
    from matplotlib import colormaps

    few = len(series) <= 10
    colors = [colormaps["tab10"](i) if few else colormaps["viridis"](i / (len(series) - 1)) for i in range(len(series))]
    for (name, stages), color in zip(series.items(), colors, strict=True):
        label = name.removeprefix(f"{family}/").replace("_", " ")
        if family == "dev":
            best = max((point for stage in stages for point in stage if math.isfinite(point[1])),
                       key=lambda point: point[1], default=None)  # fmt: skip
            label += f" (best {best[1]:.4f}, step {best[0]:,})" if best else ""
        for number, points in enumerate(stages):
            steps, values = zip(*points, strict=True)
            marker = "o" if len(points) < 30 else ""
            shown = label if number == 0 else None
            window = len(points) // 20 * 2 + 1 if family == "loss" else 1
            if window > 1:
                axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
                axes.plot(steps, _smoothed(values, window), color=color, linewidth=1.8, label=shown)
            else:
                axes.plot(steps, values, color=color, marker=marker, markersize=3, linewidth=1.4, label=shown)
    finite = [v for stages in series.values() for points in stages for _, v in points if math.isfinite(v)]
    if family not in FIRST[:3] and finite and 0 < 1000 * min(finite) < max(finite):
        axes.set_yscale("log")
    title = {"dev": "dev set", "weights": "loss weights"}.get(family, family.replace("_", " "))
    smoothed = family == "loss" and any(len(points) >= 20 for stages in series.values() for points in stages)
    axes.set_title(f"{title} (light: as logged; dark: moving mean)" if smoothed else title)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("measure" if family == "dev" else label if len(series) == 1 else title)
    axes.grid(alpha=0.3)
    if len(series) > 1 or family == "dev":
        axes.legend(fontsize="small", ncols=1 if few else 2)


def _mark_stages(axes: Axes, starts: dict[int, int]) -> None:
    """A dashed line where each later stage begins."""
    if len(starts) < 2:
        return
    for stage, start in starts.items():
        if start:
            axes.axvline(start, color="black", linestyle="--", linewidth=0.8)
        axes.annotate(f"stage {stage}", (start, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                      textcoords="offset points", fontsize="x-small", color="dimgray", in_layout=False)  # fmt: skip


def _smoothed(values: Sequence[float], window: int) -> np.ndarray[Any, Any]:
    """The mean of the finite values of a window around each place, cut at the ends."""
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(array)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, array, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    places, half = np.arange(len(array)), window // 2
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(array))
    near = counts[high] - counts[low]
    return np.where(near > 0, (sums[high] - sums[low]) / np.maximum(near, 1), np.nan)
