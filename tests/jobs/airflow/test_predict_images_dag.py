"""``jobs/airflow``: a real Airflow runs the DAGs, a real spark-submit the job; EMR and S3 are moto's, on loopback."""
from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests import HANG_SECONDS
from tests.jobs.airflow.local_airflow import ROOT, Airflow, local_airflow, stop
from tests.jobs.airflow.local_emr import LocalEmr
from tests.local_s3 import BUCKET, LocalS3, local_s3
from tests.models import digits, digits_artifact, encoded

pytestmark = [pytest.mark.jvm, pytest.mark.airflow]
SUBMIT, EMR = "sparkq_predict_images", "sparkq_predict_images_emr"
IMAGES = 40
DRIFTED, SPOILED, FIRST, SECOND = "2026-01-03", "2026-01-04", "2026-01-11", "2026-01-12"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and, by date, photos: as those of the calibration, inverted, and with a third that are no images."""
    lake = tmp_path_factory.mktemp("lake")
    digits_artifact().save(str(lake / "digits.sparkq"))
    scans = digits()[1].images[:IMAGES]
    for date, spoiled in ((DRIFTED, 1), (SPOILED, IMAGES // 2), (FIRST, 0), (SECOND, 0)):
        folder = lake / "photos" / f"date={date}"
        folder.mkdir(parents=True)
        for index, scan in enumerate(scans):
            (folder / f"{index}.png").write_bytes(encoded(255 - scan if date == DRIFTED else scan))
        for index in range(spoiled):
            (folder / f"spoiled{index}.png").write_bytes(b"\x89PNG, but no more")
    return lake


@pytest.fixture(scope="module")
def airflow(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """The Variable says where the lake is."""
    airflow = local_airflow(tmp_path_factory.mktemp("airflow"))
    airflow.environment["AIRFLOW_VAR_SPARKQ_PREDICT_IMAGES"] = json.dumps({
        "model": str(lake / "digits.sparkq"), "input": str(lake / "photos" / "date={{ ds }}"),
        "output": str(lake / "predictions"), "drift_sample": 0, "spark_conf": {"spark.ui.enabled": "false"},
    })
    return airflow


@pytest.fixture(scope="module")
def step() -> dict[str, Any]:
    """``conf/emr/add_step.json``, for the bucket and the run that are used here."""
    text = (ROOT / "conf" / "emr" / "add_step.json").read_text(encoding="utf-8")
    [step] = json.loads(text.replace("BUCKET", BUCKET).replace("RUN_ID", "20260111T000000"))
    assert isinstance(step, dict)
    return step


def settings_of(step: dict[str, Any]) -> dict[str, Any]:
    """The settings of the DAG that are to submit just this step."""
    arguments = step["HadoopJarStep"]["Args"]
    found = {name: arguments[arguments.index(f"--{name}") + 1] for name in ("archives", "model", "input", "output")}
    return {**found, "application": next(part for part in arguments if part.endswith(".py")), "drift_sample": 0}


def upload(s3: LocalS3, lake: Path, settings: dict[str, Any]) -> None:
    """What the step asks for. Only YARN unpacks the environment and runs the Python in it; here it holds nothing."""
    def put(uri: str, data: bytes) -> None:
        s3.client.put_object(Bucket=BUCKET, Key=uri.removeprefix(f"s3://{BUCKET}/"), Body=data)

    put(settings["model"], (lake / "digits.sparkq").read_bytes())
    put(settings["application"], (ROOT / "jobs" / "predict_images.py").read_bytes())
    for image in (lake / "photos" / f"date={FIRST}").iterdir():
        put(f"{settings['input']}/{image.name}", image.read_bytes())
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w:gz").close()
    put(settings["archives"].partition("#")[0], archive.getvalue())


@pytest.fixture(scope="module")
def tested(
    airflow: Airflow, lake: Path, step: dict[str, Any], tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """All runs by ``dag.test()``, in one Airflow process: it takes its time to start."""
    with local_s3() as s3:
        settings = settings_of(step)
        upload(s3, lake, settings)
        emr = LocalEmr(s3, tmp_path_factory.mktemp("bucket"), airflow.environment)
        aws = {
            "conn_type": "aws", "login": "key", "password": "secret",
            "extra": {"region_name": "us-east-1", "endpoint_url": emr.endpoint},
        }
        runs = [
            [SUBMIT, DRIFTED, {"drift_sample": 1, "options": "--top-k 2 --max-error-rate 0.05"}],
            [SUBMIT, SPOILED, {}],
            [SUBMIT, "2026-01-05", {"options": "--config /nowhere.yaml"}],
            [SUBMIT, "2026-01-06", {"options": "--no-such-option"}],
            [EMR, "2026-01-07", {}],
            [EMR, FIRST, {**settings, "cluster_id": emr.cluster_id}],
        ]
        with emr.at_work():
            lines = airflow.run(
                "python", Path(__file__).with_name("run_dag.py"), json.dumps(runs), AIRFLOW_CONN_AWS_DEFAULT=json.dumps(aws),
            )
            steps = emr.steps()
        if emr.failure is not None:
            raise emr.failure
        document = json.loads(lines[-1])
        names = ("drifted", "spoiled", "code 1", "code 2", "not set", "emr")
        return {**document, **dict(zip(names, document["runs"], strict=True)), "steps": steps, "bucket": emr.folder}


def predicted(output: Path, date: str, suffix: str = "") -> list[dict[str, Any]]:
    """Its rows, read by pyarrow: every Parquet file that is there."""
    rows: list[dict[str, Any]] = pq.read_table(output / f"run_id={date.replace('-', '')}T000000{suffix}").to_pylist()
    return rows


def right(rows: list[dict[str, Any]]) -> float:
    """Share of the scans that got their digit; there must be one row of each."""
    assert sorted(int(Path(row["path"]).stem) for row in rows) == list(range(IMAGES))
    return sum(row["label"] == digits()[1].labels[int(Path(row["path"]).stem)] for row in rows) / IMAGES


def test_the_dags_import(tested: dict[str, Any]) -> None:
    """Without errors, and on a machine with neither torch nor Spark; each says what it is set by."""
    assert tested["import_errors"] == {} and tested["loaded"] == []
    assert set(tested["dags"]) == {SUBMIT, EMR}
    for dag_id, (doc, max_active_runs, catchup) in tested["dags"].items():
        assert (max_active_runs, catchup) == (1, False)
        assert f"--dag-id {dag_id} " in doc and "date={{ ds }}" in doc and "| `drift_sample` | `0.01` |" in doc


def test_spark_submit_writes_the_run_of_its_date(tested: dict[str, Any], lake: Path) -> None:
    """All images have a row, the summary of the manifest is an XCom, drift makes a warning and an event of its asset."""
    run = tested["drifted"]
    assert (run["state"], set(map(tuple, run["tasks"].values()))) == ("success", {("success", 1)})
    rows = predicted(lake / "predictions", DRIFTED)
    assert len({row["path"] for row in rows}) == len(rows) == IMAGES + 1
    assert {len(row["top_k"]) for row in rows if row["status"] == "ok"} == {2}
    summary = run["manifest"]
    committed = json.loads((lake / "predictions" / "_sparkq" / "20260103T000000.json").read_text())
    shared = set(summary) & set(committed) - {"files", "drift"}
    assert len(shared) == 16 and {key: summary[key] for key in shared} == {key: committed[key] for key in shared}
    assert (summary["rows"], summary["errors"], summary["files"]) == (IMAGES + 1, 1, len(committed["files"]))
    assert summary["recalibrate"] is True and summary["drift"]["reasons"] == committed["drift"]["reasons"] != []
    assert len(json.dumps(summary)) < 3000
    [[asset, extra]] = run["events"]
    assert (asset, extra["run_id"], extra["reasons"]) == ("sparkq_drift", "20260103T000000", committed["drift"]["reasons"])


def test_exit_code_4_fails_the_check_and_nothing_else(tested: dict[str, Any], lake: Path) -> None:
    """A third could not be read: every row is there, the summary too, and nobody tries again."""
    run = tested["spoiled"]
    assert run["state"] == "failed"
    assert run["tasks"] == {
        "submission": ["success", 1], "predict": ["success", 1], "manifest": ["success", 1], "check_errors": ["failed", 1],
        "drift_warning": ["skipped", 1],
    }
    assert run["manifest"]["error_codes"] == {"not_an_image": IMAGES // 2}
    assert len(predicted(lake / "predictions", SPOILED)) == IMAGES + IMAGES // 2


@pytest.mark.parametrize("run", ["code 1", "code 2"])
def test_what_would_fail_again_is_not_tried_again(tested: dict[str, Any], run: str) -> None:
    """A config file that is not there; an option that there is not. Without a manifest the DAG run fails."""
    assert tested[run] == {"state": "failed", "manifest": None, "events": [], "tasks": {
        "submission": ["success", 1], "predict": ["failed", 1], "manifest": ["failed", 1], "check_errors": ["upstream_failed", 0],
        "drift_warning": ["upstream_failed", 0],
    }}


def test_without_settings_nothing_is_submitted(tested: dict[str, Any]) -> None:
    """There is no Variable of this DAG's name; the cluster gets the steps of another test only."""
    run = tested["not set"]
    assert (run["state"], run["manifest"]) == ("failed", None)
    assert run["tasks"]["emr_step"] == run["tasks"]["manifest"] == ["failed", 1]
    assert len(tested["steps"]) == 2


def test_a_step_whose_driver_was_killed_is_submitted_again(tested: dict[str, Any], step: dict[str, Any]) -> None:
    """As the same run: its rows are there once, and the manifest comes from S3. It is the step of ``conf/emr``."""
    run = tested["emr"]
    assert run["state"] == "success"
    assert {name: state for name, (state, _) in run["tasks"].items()} == {
        "emr_step": "success", "add_step": "success", "wait_for_step": "failed", "add_step_again": "success",
        "wait_for_step_again": "success", "manifest": "success", "check_errors": "success", "drift_warning": "skipped",
    }
    assert [submitted["Status"]["State"] for submitted in tested["steps"]] == ["FAILED", "COMPLETED"]
    for submitted in tested["steps"]:
        assert (submitted["Name"], submitted["ActionOnFailure"]) == (step["Name"], step["ActionOnFailure"])
        assert {key: submitted["Config"][key] for key in step["HadoopJarStep"]} == step["HadoopJarStep"]
    assert (run["manifest"]["rows"], run["manifest"]["manifest"]) == (
        IMAGES, f"s3://{BUCKET}/predictions/_sparkq/20260111T000000.json",
    )
    output = tested["bucket"] / "predictions"
    assert [path.name for path in output.glob("run_id=*")] == ["run_id=20260111T000000"]
    assert right(predicted(output, FIRST)) > 0.8


def test_the_readmes_commands(airflow: Airflow, lake: Path, tmp_path: Path) -> None:
    """As they stand, in a folder where `make demo airflow` has been; the database is that of the other tests."""
    block = re.search(r"^## On Airflow\n.*?^```sh\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None and block.group(1).startswith("make demo airflow\n")
    for name, place in (
        (".venv-airflow", ROOT / ".venv-airflow"), (".venv", sys.prefix), ("jobs", ROOT / "jobs"), ("airflow-home", airflow.home),
        ("sparkq-demo/digits.sparkq", lake / "digits.sparkq"), ("sparkq-demo/images", lake / "photos" / f"date={FIRST}"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(place)
    variables = {name: value for name, value in airflow.environment.items() if not name.startswith("AIRFLOW_VAR_")}
    script = f"set -eu\nmake() {{ true; }}\n{block.group(1)}"
    command = ["bash", "-c", script]
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = (tmp_path / "sparkq-demo" / "airflow").glob("run_id=*")
    assert right(pq.read_table(run).to_pylist()) > 0.8


def test_a_backfill_with_a_killed_driver(airflow: Airflow, lake: Path) -> None:
    """Airflow's scheduler starts both dates; one loses its driver while it writes, and is tried again: two runs, each whole."""
    output = lake / "predictions"
    servers = [airflow.start("airflow", "api-server", "--workers", "1")]
    try:
        airflow.run("airflow", "dags", "reserialize")
        dates = ["--from-date", FIRST, "--to-date", SECOND, "--max-active-runs", "2"]
        airflow.run("airflow", "backfill", "create", "--dag-id", SUBMIT, *dates)
        waited(airflow.answers, servers)
        servers.append(airflow.start("airflow", "scheduler", "--skip-serve-logs"))
        waited(lambda: list(output.glob("_sparkq/staging/20260111T000000/*")), servers)
        os.kill(driver_of("20260111T000000"), signal.SIGKILL)
        states = "SELECT state FROM dag_run WHERE run_type = 'backfill'"
        waited(lambda: {state for (state,) in airflow.rows(states)} <= {"success", "failed"}, servers)
    finally:
        for server in servers:
            stop(server)
    assert airflow.rows(states) == [("success",), ("success",)]
    tries = "SELECT state, try_number FROM task_instance WHERE run_id LIKE 'backfill%' AND task_id = 'predict' ORDER BY 2"
    assert airflow.rows(tries) == [("success", 1), ("success", 2)]
    runs = {path.stem for path in output.glob("_sparkq/*.json")}
    assert {path.name for path in output.glob("run_id=*")} == {f"run_id={run}" for run in runs}
    for date in (FIRST, SECOND):
        assert f"{date.replace('-', '')}T000000" in runs
        assert right(predicted(output, date)) > 0.8


def waited(happened: Callable[[], object], servers: list[Any]) -> None:
    """Until then; the servers must live."""
    deadline = time.monotonic() + HANG_SECONDS
    while not happened():
        assert all(server.poll() is None for server in servers) and time.monotonic() < deadline
        time.sleep(0.05)


def driver_of(run_id: str) -> int:
    """The process of spark-submit: Java, with the run id among its arguments."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if {b"org.apache.spark.deploy.SparkSubmit", run_id.encode()} <= set((path / "cmdline").read_bytes().split(b"\0")):
                parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    # A child that has not called exec yet still looks like it.
    (driver,) = (process for process, parent in parents.items() if parent not in parents)
    return driver
