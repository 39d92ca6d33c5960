"""A benchmark's result is drawn as one picture: bars an engine, and the time of an image by step."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparkq.benchmark.pipeline import STAGES
from sparkq.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_benchmark", "require_matplotlib"]

_PANEL_INCHES = (6.4, 4.2)
_DPI = 144
_BATCH_COLOURS = ("#9ec3e6", "#2b6cb0", "#1a3f66", "#0c1f33")
_STAGE_COLOURS = {"decode": "#e8a33d", "preprocess": "#f2d091", "inference": "#2b6cb0", "spark": "#a0a0a0"}


def require_matplotlib() -> None:
    """Raise `InputError` where matplotlib is not installed, before anything is measured."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError("plot: expected the package matplotlib; got none.", hint="pip install 'sparkq[benchmark]'.") from error


def plot_benchmark(result: dict[str, Any], path: str) -> None:
    """Draw the measured engines, pipeline and jobs, and write a PNG.

    Parameters
    ----------
    result : dict
        The result of `sparkq.benchmark.run.run_benchmark`, with at least one of these parts.
    path : str
        Local file to write.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    # Not pyplot: it keeps figures alive, and asks for a display.
    from matplotlib.figure import Figure

    panels = [
        panel for key, panel in (("engines", _draw_engines), ("pipeline", _draw_pipeline), ("jobs", _draw_jobs)) if key in result
    ]
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel(axes, result)
        axes.spines[["top", "right"]].set_visible(False)
    machine = result["machine"]
    figure.suptitle(f"{result['model']['name']} on {machine['node']}\n{' '.join(machine['isa'])}", fontsize=9)
    try:
        figure.savefig(path, dpi=_DPI, format="png")
    except OSError as error:
        raise InputError(f"plot {path}: expected a writable place; got {error}.") from error


def _draw_engines(axes: Axes, result: dict[str, Any]) -> None:
    rows = [row for row in result["engines"] if row["images_per_second"] is not None]
    engines = list(dict.fromkeys(row["engine"] for row in rows))
    batch_sizes = sorted({row["batch_size"] for row in rows})
    height = 0.8 / len(batch_sizes)
    for number, batch_size in enumerate(batch_sizes):
        chosen = [row for row in rows if row["batch_size"] == batch_size]
        places = [engines.index(row["engine"]) + (number - (len(batch_sizes) - 1) / 2) * height for row in chosen]
        speeds = [row["images_per_second"] for row in chosen]
        axes.barh(
            places, [speed["median"] for speed in speeds], height, color=_BATCH_COLOURS[number % len(_BATCH_COLOURS)],
            label=f"batch {batch_size}", xerr=_errors(speeds), ecolor="#555555", capsize=2,
        )
        for place, row in zip(places, chosen, strict=True):
            axes.annotate(
                f"{row['ratio']['median']:.2f}x", (row["images_per_second"]["high"], place), (4, 0), textcoords="offset points",
                va="center", fontsize=7,
            )
    axes.set_yticks(range(len(engines)), engines)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"images per second, one core (x: times {rows[0]['baseline']})" if rows else "images per second, one core")
    axes.set_title("engines", fontsize=10)
    axes.legend(fontsize=8, frameon=False)


def _draw_pipeline(axes: Axes, result: dict[str, Any]) -> None:
    """Draw one bar for the engine of the jobs, and one for each other that was measured at the same batch size."""
    medians = {row["stage"]: row["milliseconds"]["median"] if row["milliseconds"] else 0.0 for row in result["pipeline"]}
    bars = {result["engine"]: medians}
    for row in result.get("engines", []):
        if row["images_per_second"] is not None and row["batch_size"] == result["batch_size"] and row["engine"] not in bars:
            bars[row["engine"]] = {**medians, "inference": 1000 / row["images_per_second"]["median"]}
    left = [0.0] * len(bars)
    for stage in STAGES:
        # A cost below zero, which overlap can give, has no length.
        widths = [max(0.0, bar[stage]) for bar in bars.values()]
        axes.barh(range(len(bars)), widths, 0.65, left=left, color=_STAGE_COLOURS[stage], label=stage)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, end in enumerate(left):
        axes.annotate(f"{end:.1f} ms", (end, place), (4, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(range(len(bars)), list(bars))
    # A single bar is not to fill the panel.
    axes.set_ylim(max(len(bars) - 0.5, 1.5), min(-0.5, len(bars) - 2.5))
    axes.margins(x=0.12)
    axes.set_xlabel(f"ms an image, one core, batch {result['batch_size']}; Spark as measured with {result['engine']}")
    axes.set_title("one image", fontsize=10)
    axes.legend(fontsize=8, frameon=False, ncols=len(STAGES), loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _draw_jobs(axes: Axes, result: dict[str, Any]) -> None:
    rows = [row for row in result["jobs"] if row["images_per_second"] is not None]
    speeds = [row["images_per_second"] for row in rows]
    axes.barh(
        range(len(rows)), [speed["median"] for speed in speeds], 0.6, color=_BATCH_COLOURS[1], xerr=_errors(speeds),
        ecolor="#555555", capsize=2,
    )
    for place, row in enumerate(rows):
        axes.annotate(
            f"{row['images_per_second']['median']:.0f}", (row["images_per_second"]["high"], place), (4, 0),
            textcoords="offset points", va="center", fontsize=7,
        )
    axes.set_yticks(range(len(rows)), [f"{row['variant']}\n{row['runs']}" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"marginal images per second, local[{result['cores']}]")
    axes.set_title("whole job, files to Parquet", fontsize=10)


def _errors(speeds: list[dict[str, float]]) -> list[list[float]]:
    return [[speed["median"] - speed["low"] for speed in speeds], [speed["high"] - speed["median"] for speed in speeds]]
