"""A benchmark's result is written as text for people."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["benchmark_table"]

Row = dict[str, Any]
_TOO_SMALL = "too few images to tell"


def benchmark_table(result: dict[str, Any]) -> str:
    """Return the mapping of `sparkq.benchmark.run.run_benchmark` as tables; a figure is ``median (lowest to highest)``."""
    parts = [_header(result)]
    for key, table in (
        ("engines", _engines), ("cold_starts", _cold_starts), ("pipeline", _pipeline), ("jobs", _jobs), ("scale", _scale),
    ):
        if key in result:
            parts.append(table(result[key]))
    if "costs" in result:
        parts.append(_costs(result["costs"]))
    if "profile" in result:
        files = ", ".join(result["profile"]["files"]) or "nothing, because no worker ran a second task: take more images"
        parts.append(f"profile: {result['profile']['folder']}: {files}")
    return "\n\n".join(parts)


def _header(result: Row) -> str:
    machine, model = result["machine"], result["model"]
    limits = "".join(f", {name}={value}" for name, value in machine["isa_limits"].items())
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"node    {machine['node']}, {machine['cores']} cores, load {machine['load_average']}",
        f"isa     {' '.join(machine['isa'])}{limits}",
        f"with    {versions}",
        f"model   {model['name']}, input {model['input_size'][0]} x {model['input_size'][1]}",
        f"images  {result['input']['files']} files, {result['input']['mean_bytes'] / 1000:.0f} kB on average",
        f"jobs    engine {result['engine']}, batch {result['batch_size']}, local[{result['cores']}]",
        "figures are median (lowest to highest) of interleaved rounds, ratios were taken within a round; images a core are over",
        "time on that core, latencies and jobs by the clock",
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])


def _engines(rows: list[Row]) -> str:
    cells = []
    for row in rows:
        if row["error"] is not None:
            cells.append([row["engine"], row["batch_size"], row["error"]])
            continue
        latency = row["latency"]
        cells.append([
            row["engine"], row["batch_size"], _spread(row["images_per_second"]), _spread(row["ratio"], 2),
            *(f"{1000 * latency[name]:.1f}" for name in ("p50", "p90", "p99")), latency["passes"],
        ])
    baseline = next((row["baseline"] for row in rows if row["baseline"]), "")
    names = ["engine", "batch", "images/s a core", f"times {baseline}", "p50 ms", "p90 ms", "p99 ms", "passes"]
    return "engines, one thread\n" + _table(names, cells)


def _cold_starts(rows: list[Row]) -> str:
    cells = [[
        row["engine"], *(f"{row[name]:.2f}" for name in (
            "import_seconds", "load_seconds", "warm_load_seconds", "first_batch_seconds",
        )), f"{row['resident_mb']:.0f}",
    ] for row in rows]
    return "cold start, a process each\n" + _table(
        ["engine", "import s", "load s", "load s, warm node", "first batch s", "resident MB"], cells,
    )


def _pipeline(rows: list[Row]) -> str:
    cells = [[row["stage"], _spread(row["milliseconds"], 2), _spread(row["share"], 2)] for row in rows]
    return "pipeline, one image on one core\n" + _table(["step", "ms", "share of the job"], cells)


def _jobs(rows: list[Row]) -> str:
    cells = []
    for row in rows:
        if row["error"] is not None:
            cells.append([row["variant"], row["runs"], row["error"]])
            continue
        cells.append([
            row["variant"], row["runs"], _spread(row["images_per_second"]),
            _spread(row["ratio"], 2), _spread(row["start_seconds"]), _spread(row["cold_seconds"]),
            _spread(row["job_seconds"]),
        ])
    names = ["job", "runs", "marginal images/s", "sparkq is times", "session s", "cold workers s", "a job s"]
    return "jobs, from files to Parquet\n" + _table(names, cells)


def _scale(rows: list[Row]) -> str:
    cells = [[
        row["cores"], _spread(row["images_per_second"]), _spread(row["speedup"], 2), _spread(row["exponent"], 2),
        " ".join(f"{images}: {seconds['median']:.2f}" for images, seconds in zip(row["images"], row["seconds"], strict=True)),
    ] for row in rows]
    return "scale\n" + _table(
        ["cores", "marginal images/s", "times 1 core", "exponent of images (1 is linear)", "seconds by images"], cells,
    )


def _costs(costs: Row) -> str:
    cells = [
        [row["instance"], row["runs"], f"{row['cost']:.2f}", "its own" if row["measured"] else "of a core of this node"]
        for row in costs["rows"]
    ]
    names = ["instance", "runs", f"{costs['currency']} a million images", "speed"]
    return f"cost, marginal; prices: {costs['source']}\n" + _table(names, cells)


def _spread(spread: Row | None, digits: int = 1) -> str:
    if spread is None:
        return _TOO_SMALL
    return f"{spread['median']:.{digits}f} ({spread['low']:.{digits}f} to {spread['high']:.{digits}f})"


def _table(names: list[str], rows: Iterable[list[Any]]) -> str:
    lines = [names, *([str(cell) for cell in row] for row in rows)]
    # A row that ends early ends in a sentence, which makes no column wide.
    full = [line for line in lines if len(line) == len(names)]
    widths = [max(len(line[column]) for line in full) for column in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines
    )
