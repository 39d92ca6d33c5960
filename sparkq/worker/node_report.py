"""A node reports its machine, and whether it runs a model rightly: one row of ``sparkq doctor``."""
from __future__ import annotations

import platform
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sparkq.artifact.file import ModelArtifact
from sparkq.engines.load import absent_engines
from sparkq.engines.node import available_cores, describe_node, instruction_sets, kernel_settings, return_freed_memory
from sparkq.engines.registry import ENGINE_NAMES
from sparkq.errors import EngineError, last_line
from sparkq.host import cpu_model, package_version
from sparkq.worker.fitting import engine_for, engines_for
from sparkq.worker.predictor import Predictor

__all__ = ["NodeReport", "examine_node", "isa_of", "mixed_instruction_sets"]

_EQUAL_DB = 200.0
"""More than numbers of 32 bits can show."""


@dataclass(frozen=True)
class NodeReport:
    """The report of one executor's node.

    Parameters
    ----------
    host, cpu, torch : str
        The node's name, CPU model and version of torch.
    isa : tuple of str
        Instruction sets that engines choose their kernels by, as Linux names them.
    cores : int
        Cores that a worker may use.
    engines : tuple of str
        Engines that run here: with a model, those that gave its golden output.
    refused : dict of str to str
        The other engines that might run, and why they do not.
    environment : dict of str to str
        Variables that set threads or kernels.
    engine : str, optional
        The engine that the following figures are of.
    load_seconds, golden_db : float, optional
        Seconds that the model took to load, and how near its golden output was (200 dB where it was the same). None without
        a model, and where it failed.
    failure : str, optional
        Why this node must not run the job.
    """

    host: str
    cpu: str
    torch: str
    isa: tuple[str, ...]
    cores: int
    engines: tuple[str, ...]
    refused: dict[str, str]
    environment: dict[str, str]
    engine: str | None = None
    load_seconds: float | None = None
    golden_db: float | None = None
    failure: str | None = None


def examine_node(
    artifact: ModelArtifact | None, *, engine: str | None = None, threads: int = 1, allow_saturation: bool = False,
) -> NodeReport:
    """Examine the machine that this runs on. On a worker.

    Parameters
    ----------
    artifact : ModelArtifact, optional
        Loaded into every engine that fits it.
    engine : str, optional
        The engine that the job will run; default: the first that fits.
    threads, allow_saturation
        As for `Predictor`.
    """
    refused = absent_engines()
    loads: dict[str, tuple[float, float]] = {}
    names = ENGINE_NAMES
    main = None
    if artifact is not None:
        names, main = engines_for(artifact), engine_for(artifact, engine)
        for name in names:
            loaded = _loaded(partial(Predictor, artifact, engine=name, threads=threads, allow_saturation=allow_saturation))
            if isinstance(loaded, str):
                refused[name] = loaded
            else:
                loads[name] = loaded
    seconds, golden_db = loads.get(main or "", (None, None))
    return NodeReport(
        socket.gethostname(), cpu_model(), str(package_version("torch")), instruction_sets(), available_cores(),
        tuple(name for name in names if name not in refused),
        {name: reason for name, reason in refused.items() if name in names}, kernel_settings(), main, seconds, golden_db,
        _failure(main, refused),
    )


def _loaded(load: Callable[[], Predictor]) -> tuple[float, float] | str:
    """Return the seconds of loading and the dB of the golden output; or why the model does not run."""
    started = time.perf_counter()
    try:
        golden_db = load().golden_sqnr_db
    except EngineError as error:
        return error.message
    # Engines raise it where an operator or an instruction set is missing.
    except RuntimeError as error:
        return last_line(error)
    finally:
        return_freed_memory()
    # Equal outputs are infinitely near, which JSON cannot say.
    return round(time.perf_counter() - started, 3), round(min(golden_db, _EQUAL_DB), 1)


def _failure(engine: str | None, refused: dict[str, str]) -> str | None:
    if engine is not None and engine in refused:
        return refused[engine]
    if platform.machine() in ("x86_64", "AMD64") and "avx2" not in instruction_sets():
        return f"node {describe_node()}: expected a CPU with AVX2; got one without, on which INT8 does not run."
    return None


def isa_of(names: Sequence[str]) -> str:
    """Return instruction sets in short, e.g. ``AVX2 AVX-512 VNNI``; ``none of x86's`` on other CPUs."""
    short = {
        "AVX2": {"avx2"}, "AVX-512": {"avx512f"}, "VNNI": {"avx512_vnni", "avx_vnni"}, "BF16": {"avx512_bf16"},
        "AMX": {"amx_int8", "amx_tile"},
    }
    return " ".join(name for name, flags in short.items() if flags & set(names)) or "none of x86's"


def mixed_instruction_sets(reports: Sequence[NodeReport]) -> str | None:
    """Return one sentence if nodes differ in the instruction sets that engines choose kernels by, else None."""
    kinds: dict[str, list[str]] = {}
    for report in reports:
        kinds.setdefault(isa_of(report.isa), []).append(report.host)
    if len(kinds) < 2:
        return None
    groups = "; ".join(f"{isa} on {', '.join(sorted(set(hosts)))}" for isa, hosts in sorted(kinds.items()))
    return (
        f"instruction sets are mixed ({groups}): the slowest nodes finish last, and --engine auto would run different engines; "
        "--same-everywhere takes one for all"
    )
