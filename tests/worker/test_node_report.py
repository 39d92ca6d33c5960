"""What a node says of itself, and of a model."""
from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sparkq.engines.load import absent_engines
from sparkq.engines.node import available_cores
from sparkq.errors import EngineError
from sparkq.host import cpu_model
from sparkq.worker.node_report import NodeReport, examine_node, isa_of, mixed_instruction_sets
from tests.models import digits_artifact


def test_without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is, what it has, and which variables may slow it down."""
    monkeypatch.setenv("KMP_AFFINITY", "compact")
    monkeypatch.setenv("OMPI_COMM_WORLD", "1")
    report = examine_node(None)
    assert (report.cpu, report.torch, report.cores) == (cpu_model(), torch.__version__, available_cores())
    assert report.environment["KMP_AFFINITY"] == "compact" and "OMPI_COMM_WORLD" not in report.environment
    assert {"float32", "bfloat16"} < set(report.engines) and set(report.refused) == set(absent_engines())
    assert (report.engine, report.load_seconds, report.golden_db, report.failure) == (None, None, None, None)


def test_with_a_model() -> None:
    """Loaded into every engine that fits, and asked for its golden output."""
    report = examine_node(digits_artifact(), engine="x86")
    assert set(report.engines) == {"fbgemm", "x86", "onednn", "openvino"} and report.refused == {}
    assert report.engine == "x86" and report.failure is None
    assert report.load_seconds is not None and report.load_seconds > 0
    assert report.golden_db is not None and 25 < report.golden_db <= 200


def test_a_wrong_golden_output() -> None:
    """No engine is left, the reason is the worker's own, and nothing is raised."""
    artifact = digits_artifact()
    golden = replace(artifact.manifest.golden, output=-artifact.manifest.golden.output)
    report = examine_node(replace(artifact, manifest=replace(artifact.manifest, golden=golden)))
    assert report.engines == () and set(report.refused) == {"fbgemm", "x86", "onednn", "openvino"}
    assert report.failure is not None and "golden output" in report.failure and report.failure == report.refused["fbgemm"]
    assert (report.load_seconds, report.golden_db) == (None, None)


def test_an_engine_that_does_not_fit() -> None:
    with pytest.raises(EngineError, match="float32"):
        examine_node(digits_artifact(), engine="float32")


def test_a_cpu_without_avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's list is all that tells."""
    monkeypatch.setattr("sparkq.worker.node_report.instruction_sets", tuple)
    failure = examine_node(None).failure
    assert failure is not None and "AVX2" in failure


@pytest.mark.parametrize(("names", "shown"), [
    (("avx2",), "AVX2"), (("avx2", "avx512f"), "AVX2 AVX-512"), (("avx2", "avx_vnni"), "AVX2 VNNI"),
    (("avx2", "avx512f", "avx512_vnni", "amx_int8"), "AVX2 AVX-512 VNNI AMX"), (("asimddp",), "none of x86's"),
])
def test_instruction_sets_in_short(names: tuple[str, ...], shown: str) -> None:
    assert isa_of(names) == shown


def test_mixed_nodes() -> None:
    """Named by host, each once; not where all are the same."""
    old, new = (NodeReport(host, "Xeon", "2.13", isa, 4, (), {}, {}) for host, isa in (
        ("a", ("avx2", "avx512f")), ("b", ("avx2", "avx512f", "avx512_vnni")),
    ))
    assert mixed_instruction_sets([old, old]) is None and mixed_instruction_sets([]) is None
    found = mixed_instruction_sets([old, new, old])
    assert found is not None and "AVX2 AVX-512 on a; AVX2 AVX-512 VNNI on b" in found and "--same-everywhere" in found
