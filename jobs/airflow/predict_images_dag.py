"""Airflow: every day the images of one date, as one run of ``sparkq predict``.

Two DAGs of the same shape: ``sparkq_predict_images`` submits with spark-submit, ``sparkq_predict_images_emr`` adds a step to an
EMR cluster. This file needs Airflow 3 with the providers apache-spark and amazon, and neither sparkq nor torch nor pyspark.

- The run id comes from the logical date. So a retry, or a second attempt while the first still runs, is the same run: of all
  attempts one commits, and rows are never doubled. Each date of a backfill is a run of its own.
- What counts is the run manifest in the output, not how a process ended. Task ``manifest`` reads it, whatever came before, and
  hands its summary on as XCom; the DAG run fails if there is none.
"""
from __future__ import annotations

import json
import logging
import re
import shlex
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.providers.amazon.aws.sensors.emr import EmrStepSensor
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSkipException
from airflow.sdk import (
    DAG, Asset, Context, CronDataIntervalTimetable, ObjectStoragePath, Param, TriggerRule, Variable, get_current_context, task,
)

SUBMIT, EMR = "sparkq_predict_images", "sparkq_predict_images_emr"
DRIFT = Asset("sparkq_drift")
COMMITTED = {4: "more images failed than allowed", 75: "another attempt of the same run id has committed it: the work is done"}


class Setting(NamedTuple):
    """One of ``SETTINGS``: JSON type, default, and what it is."""

    kind: str
    default: Any
    text: str


# All texts are templates. "Required" are those without a default.
SETTINGS = {
    "model": Setting("string", None, "Artifact, path or uri. Required."),
    "input": Setting("string", None, "Images of one date, e.g. s3://lake/photos/date={{ ds }}. Required."),
    "output": Setting("string", None, "Folder of all runs, the same one every day. Required."),
    "run_id": Setting("string", "{{ ts_nodash }}", "To predict a date again, e.g. with a new model, give it another one."),
    "drift_sample": Setting("number", 0.01, "Share of the images that is compared with the calibration images; 0: none."),
    "options": Setting("string", "", "Further options of sparkq predict, e.g. --top-k 3 --max-error-rate 0.05."),
    "spark_conf": Setting("object", {}, "Spark settings, e.g. those that sparkq plan prints."),
    "aws_conn_id": Setting("string", "aws_default", "Connection to AWS: manifests on S3, EMR."),
}
SUBMIT_SETTINGS = SETTINGS | {
    "conn_id": Setting("string", "spark_default", "Spark connection: master, deploy mode, YARN queue."),
    "application": Setting("string", str(Path(__file__).parent.parent / "predict_images.py"), "jobs/predict_images.py."),
}
EMR_SETTINGS = SETTINGS | {
    "cluster_id": Setting("string", None, "EMR cluster that is up, j-.... Required."),
    "application": Setting("string", None, "jobs/predict_images.py on S3. Required."),
    "archives": Setting("string", None, "Packed environment on S3, e.g. s3://lake/sparkq/environment.tar.gz#environment; "
                                        "without one the cluster's own Python has sparkq."),
}


class PredictImages(SparkSubmitOperator):
    """spark-submit of ``jobs/predict_images.py``, with exit codes made into what Airflow should do.

    ========  ==================================================================================================
    code
    ========  ==================================================================================================
    0         success; also when this run was committed before
    75        success: another attempt of the same run id has committed it, and the work is done
    4         success: the run is committed, and task ``check_errors`` fails because too many images failed
    1, 2      failed, without retries: the same would happen again. 1 only if sparkq itself told why
    others    (3, 130, killed, Spark's own) retried
    ========  ==================================================================================================

    Where the driver runs on the cluster (deploy mode cluster), spark-submit does not tell its code: all failures are retried.
    """

    template_fields = (*SparkSubmitOperator.template_fields, "_conn_id")

    def execute(self, context: Context) -> None:
        """Submit and wait."""
        try:
            super().execute(context)
        except AirflowException as error:
            found = re.search(r"Error code is: (\d+)", str(error))
            code = int(found.group(1)) if found else None
            if code in COMMITTED:
                self.log.warning("Exit code %d, the run is committed: %s.", code, COMMITTED[code])
                return
            if code == 2 or (code == 1 and "sparkq: error: " in str(error)):
                raise AirflowFailException(f"Exit code {code}, not tried again: {error}") from error
            raise


def _resolved(settings: dict[str, Setting]) -> dict[str, Any]:
    """Defaults, then the Variable that is named as the DAG, then the DAG run's own parameters; rendered."""
    context = get_current_context()
    name = context["dag"].dag_id
    if context.get("logical_date") is None:
        raise AirflowFailException("This DAG run has no logical date, which gives the run id: trigger it with one.")
    variable = Variable.get(name, default={}, deserialize_json=True)
    unknown = set(variable) - set(settings)
    if unknown:
        raise AirflowFailException(f"Variable {name}: expected settings of this DAG; got {', '.join(sorted(unknown))}.")
    values = {key: setting.default for key, setting in settings.items()}
    for layer in (variable, context["params"]):
        values |= {key: value for key, value in layer.items() if key in settings and value is not None}
    missing = [key for key, setting in settings.items() if values[key] is None and "Required." in setting.text]
    if missing:
        raise AirflowFailException(f"Expected a value of {', '.join(missing)}: set it in the Variable {name}, as JSON.")
    rendered: dict[str, Any] = context["task"].render_template(values, context)
    return rendered


def _arguments(settings: dict[str, Any]) -> list[str]:
    drift = ["--drift-sample", str(settings["drift_sample"])] if settings["drift_sample"] else []
    return [
        "--model", settings["model"], "--input", settings["input"], "--output", settings["output"],
        "--run-id", settings["run_id"], *drift, *shlex.split(settings["options"]),
    ]


@task(multiple_outputs=True)
def submission() -> dict[str, Any]:
    """What spark-submit is called with."""
    settings = _resolved(SUBMIT_SETTINGS)
    return settings | {"arguments": _arguments(settings)}


@task(multiple_outputs=True)
def emr_step() -> dict[str, Any]:
    """The step, as ``conf/emr/add_step.json`` has it."""
    settings = _resolved(EMR_SETTINGS)
    conf = dict(settings["spark_conf"])
    archives = []
    if settings["archives"]:
        archives = ["--archives", settings["archives"]]
        conf.setdefault("spark.yarn.appMasterEnv.PYSPARK_PYTHON", "./environment/bin/python")
    command = [
        "spark-submit", "--master", "yarn", "--deploy-mode", "cluster", *archives,
        *(part for key, value in conf.items() for part in ("--conf", f"{key}={value}")),
        settings["application"], *_arguments(settings), "--json",
    ]
    step = {
        "Name": f"sparkq predict {settings['run_id']}", "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": command},
    }
    return settings | {"steps": [step]}


def _read(location: str, aws_conn_id: str) -> str | None:
    """A text file, or None where there is none."""
    if re.match("s3[an]?://", location):
        hook = S3Hook(aws_conn_id=aws_conn_id)
        bucket, key = hook.parse_s3_url(re.sub("^s3[an]:", "s3:", location))
        return hook.read_key(key, bucket) if hook.check_for_key(key, bucket) else None
    path = ObjectStoragePath(location)
    return path.read_text() if path.exists() else None


# Also after a task that failed: EMR, and spark-submit in deploy mode cluster, call an attempt failed that came second.
@task(trigger_rule=TriggerRule.ALL_DONE)
def manifest(settings: dict[str, Any] | None) -> dict[str, Any]:
    """The committed run in short: counts, rate, model, drift; no lists of files."""
    if settings is None:
        raise AirflowFailException("The settings of this run are not known: its first task failed.")
    location = f"{settings['output'].rstrip('/')}/_sparkq/{settings['run_id']}.json"
    text = _read(location, settings["aws_conn_id"])
    if text is None:
        raise AirflowFailException(f"Run {settings['run_id']} is not committed: there is no {location}.")
    run = json.loads(text)
    kept = (
        "run_id", "output", "input", "model", "model_digest", "engine", "rows", "ok", "errors", "error_codes", "skipped",
        "seconds", "images_per_second", "started", "ended", "recalibrate",
    )
    drift = run.get("drift") or {}
    return {
        **{key: run.get(key) for key in kept},
        "manifest": location,
        "files": len(run["files"]),
        "max_error_rate": run["settings"]["max_error_rate"],
        "drift": {key: drift.get(key) for key in ("images", "score_psi", "label_psi", "reasons")} if drift else None,
    }


@task
def check_errors(run: dict[str, Any]) -> None:
    """Fail, without retries, if more images failed than ``--max-error-rate``; their rows are committed and say why."""
    rate = run["errors"] / max(run["rows"], 1)
    if rate > run["max_error_rate"]:
        raise AirflowFailException(f"{rate:.2%} of {run['rows']} images failed: {run['error_codes']}.")


@task(outlets=[DRIFT])
def drift_warning(run: dict[str, Any], **context: Any) -> None:
    """Skipped while the images are like those of the calibration; else a warning and an event of the asset sparkq_drift."""
    if not run["recalibrate"]:
        raise AirflowSkipException("no drift" if run["recalibrate"] is False else "drift was not measured")
    for reason in run["drift"]["reasons"]:
        logging.getLogger("airflow.task").warning("Drift: %s", reason)
    context["outlet_events"][DRIFT].extra = {"run_id": run["run_id"], "output": run["output"], **run["drift"]}


DOC = """
One run of `sparkq predict` a day. Its settings, each a template, come from the Variable of the DAG's name (JSON), and for a
single DAG run from its parameters:

```sh
airflow variables set {dag_id} '{{"model": "s3://lake/models/resnet50.sparkq",
  "input": "s3://lake/photos/date={{{{ ds }}}}", "output": "s3://lake/predictions"{more}}}'
airflow backfill create --dag-id {dag_id} --from-date 2026-01-01 --to-date 2026-01-31 --max-active-runs 1
```

| setting | default | |
| --- | --- | --- |
{rows}

A date is processed when it is over (UTC). **manifest** has the counts as XCom, read from the committed run; **check_errors**
fails if too many images could not be read; **drift_warning** is skipped, unless the images have moved away from those that the
model was calibrated with: then it warns, and updates the asset `sparkq_drift`, on which a DAG that notifies or
recalibrates can be scheduled. Clear a failed task to try it again: nothing is computed or written twice.
"""


def _dag(dag_id: str, settings: dict[str, Setting], more: str) -> DAG:
    rows = "\n".join(f"| `{name}` | {'' if value.default is None else f'`{value.default}`'} | {value.text} |"
                     for name, value in settings.items())
    return DAG(
        dag_id,
        # The run of a date starts when the date is over. Airflow 3 takes a plain "@daily" for the moment at which it begins.
        schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        # Runs may overlap, but each takes all cores that it gets: two would only share them. A backfill has its own limit.
        max_active_runs=1,
        default_args={
            "retries": 2,
            # A retry submits again and does not look for what the dead attempt left running: the run id keeps them apart.
            # (The default would refuse YARN's deploy mode cluster without the ResourceManager's web address.)
            "durable": False,
        },
        params={name: Param(None, type=["null", value.kind], description=f"{value.text} Default: see Variable {dag_id}.")
                for name, value in settings.items()},
        doc_md=DOC.format(dag_id=dag_id, rows=rows, more=more),
        tags=["sparkq"],
    )


with _dag(SUBMIT, SUBMIT_SETTINGS, "") as submit_dag:
    submitted = submission()
    predict = PredictImages(
        task_id="predict", conn_id=submitted["conn_id"], application=submitted["application"], conf=submitted["spark_conf"],
        application_args=submitted["arguments"], name=f"{SUBMIT} {{{{ ts_nodash }}}}",
    )
    committed = manifest(submitted)
    predict >> committed
    check_errors(committed)
    drift_warning(committed)

with _dag(EMR, EMR_SETTINGS, ',\n  "application": "s3://lake/sparkq/predict_images.py", "cluster_id": "j-..."') as emr_dag:
    step = emr_step()
    committed = manifest(step)
    before = None
    # A failed step is not repeated by a sensor that looks at it again: a second step is. It is skipped after a first that did it.
    for attempt, trigger_rule in (("", TriggerRule.ALL_SUCCESS), ("_again", TriggerRule.ONE_FAILED)):
        add = EmrAddStepsOperator(
            task_id=f"add_step{attempt}", job_flow_id=step["cluster_id"], steps=step["steps"], aws_conn_id=step["aws_conn_id"],
            trigger_rule=trigger_rule,
        )
        wait = EmrStepSensor(
            task_id=f"wait_for_step{attempt}", job_flow_id=step["cluster_id"],
            step_id=f"{{{{ ti.xcom_pull(task_ids='add_step{attempt}')[0] }}}}",
            aws_conn_id=step["aws_conn_id"], mode="reschedule", retries=0,
        )
        if before is not None:
            before >> add
        add >> wait >> committed
        before = wait
    check_errors(committed)
    drift_warning(committed)
