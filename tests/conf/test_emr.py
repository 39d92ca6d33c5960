"""``conf/spark-defaults.conf`` and ``conf/emr/``: what `sparkq plan` says, in shapes that EMR takes."""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from sparkq.cli.options import add_options, options_from
from sparkq.cli.predict import PredictOptions
from sparkq.planning.instances import instance_named
from sparkq.planning.memory import ExecutorShape, Memory, WorkerNeeds, driver_memory_mb, executor_memory, shape_on, submit_options
from sparkq.planning.partitions import scan_settings
from sparkq.planning.warnings import setting_warnings
from sparkq.spark.session.settings import arrow_settings
from tests import ROOT

CONF = ROOT / "conf"
MB = 2**20
RESNET50 = WorkerNeeds(700 * MB, MB, False)
"""`sparkq plan` measured 696 MB with engine fbgemm and batch size 16."""
NODES, FILES, MODEL_TASKS = 10, 1_000_000, 10_000
OF_CLUSTERS = {"spark.dynamicAllocation.enabled": "false", "spark.yarn.maxAppAttempts": "1"}
OF_EMR = {"spark.yarn.heterogeneousExecutors.enabled": "false"}
IN_TABLE = (
    "c5.4xlarge", "c5.18xlarge", "m5.4xlarge", "m5.24xlarge", "c6i.4xlarge", "c6i.32xlarge", "c7i.4xlarge", "c7i.48xlarge",
    "c7g.16xlarge",
)


def planned(name: str) -> tuple[ExecutorShape, Memory]:
    """What `sparkq plan --instance NAME --nodes 10` computes for ResNet-50."""
    shape = shape_on(instance_named(name), NODES, RESNET50, task_cpus=1)
    return shape, executor_memory(shape.cores, RESNET50)


def spark_defaults() -> dict[str, str]:
    """As Spark reads it."""
    lines = [line.split() for line in (CONF / "spark-defaults.conf").read_text().splitlines() if line and line[0] != "#"]
    assert all(len(line) == 2 for line in lines)
    return {key: value for key, value in lines}


def classified() -> dict[str, dict[str, str]]:
    """EMR's classifications."""
    entries = json.loads((CONF / "emr" / "configurations.json").read_text())
    assert len({entry["Classification"] for entry in entries}) == len(entries)
    return {entry["Classification"]: entry["Properties"] for entry in entries}


def step_arguments() -> tuple[list[str], list[str]]:
    """Of spark-submit, and of the job."""
    (step,) = json.loads((CONF / "emr" / "add_step.json").read_text())
    arguments = step["HadoopJarStep"]["Args"]
    job = next(index for index, argument in enumerate(arguments) if argument.endswith(".py"))
    return arguments[:job], arguments[job + 1:]


def test_spark_defaults_are_the_plans() -> None:
    shape, memory = planned("c5.18xlarge")
    options = submit_options(shape, memory, task_cpus=1, driver_mb=driver_memory_mb(FILES), tasks=MODEL_TASKS)
    assert spark_defaults() == {**options, **OF_CLUSTERS}


def test_every_key_has_its_why() -> None:
    lines = (CONF / "spark-defaults.conf").read_text().splitlines()
    for above, line in zip(lines, lines[1:], strict=False):
        assert not line.startswith("spark.") or above.startswith("# "), line


def test_sparkq_warns_of_none_of_them() -> None:
    _, memory = planned("c5.18xlarge")
    assert setting_warnings(
        {"spark.master": "yarn", **classified()["spark-defaults"]}, memory=memory, cores=10, address_space_bytes=4000 * MB,
        start_seconds=5.0, tasks=MODEL_TASKS, driver_mb=driver_memory_mb(FILES),
    ) == []


def test_the_jobs_own_settings_are_left_to_it() -> None:
    """Those it computes from the input, and those that Spark or torch take from others."""
    own = {*scan_settings(1, file_cost_bytes=1), *arrow_settings(mean_bytes=1, largest_bytes=1)}
    own |= {"spark.executorEnv.OMP_NUM_THREADS", "spark.executor.pyspark.memory"}
    serverless = json.loads((CONF / "emr" / "start_job_run.json").read_text())["configurationOverrides"]
    (overrides,) = serverless["applicationConfiguration"]
    for settings in (spark_defaults(), classified()["spark-defaults"], overrides["properties"]):
        assert own.isdisjoint(settings)


def test_emr_has_the_same_settings() -> None:
    assert classified()["spark-defaults"] == {**spark_defaults(), **OF_EMR}
    # It would size executors by itself.
    assert classified()["spark"] == {"maximizeResourceAllocation": "false"}


def test_the_step_sets_nothing_twice_and_runs_what_the_command_takes() -> None:
    submit, job = step_arguments()
    settings = [submit[index + 1].split("=")[0] for index, argument in enumerate(submit) if argument == "--conf"]
    assert settings == ["spark.yarn.appMasterEnv.PYSPARK_PYTHON"]
    assert submit[submit.index("--archives") + 1].endswith("/environment.tar.gz#environment")
    run = json.loads((CONF / "emr" / "start_job_run.json").read_text())["jobDriver"]["sparkSubmit"]
    assert run["entryPointArguments"] == job
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    add_options(parser, PredictOptions)
    options = options_from(PredictOptions, parser.parse_args(job))
    assert (options.run_id, options.input, options.output) == ("RUN_ID", "s3://BUCKET/photos", "s3://BUCKET/predictions")


def test_serverless_has_workers_of_a_size_that_there_is() -> None:
    """8 vCPUs come with 16 to 60 GB in steps of 4, and hold 8 Python workers."""
    text = (CONF / "emr" / "start_job_run.json").read_text()
    (overrides,) = json.loads(text)["configurationOverrides"]["applicationConfiguration"]
    properties = overrides["properties"]
    cores = int(properties["spark.executor.cores"])
    heap, overhead = (int(properties[f"spark.executor.{name}"].removesuffix("g")) for name in ("memory", "memoryOverhead"))
    needed = executor_memory(cores, RESNET50)
    assert cores == 8 and (heap + overhead) in range(16, 61, 4)
    assert heap * 1024 >= needed.heap_mb and overhead * 1024 >= needed.overhead_mb


@pytest.fixture
def endpoint() -> Iterator[dict[str, str]]:
    """EMR on loopback; botocore checks each request against Amazon's own description of the service before it is sent."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1",
        "aws_access_key_id": "key", "aws_secret_access_key": "secret",
    }
    server.stop()


def test_emr_takes_them(endpoint: dict[str, str]) -> None:
    """A cluster with these configurations, the bootstrap action and the step; a run on Serverless."""
    steps = json.loads((CONF / "emr" / "add_step.json").read_text())
    emr: Any = boto3.client("emr", **endpoint)
    cluster = emr.run_job_flow(
        Name="sparkq", ReleaseLabel="emr-7.13.0", Applications=[{"Name": "Spark"}],
        Instances={"MasterInstanceType": "m5.xlarge", "SlaveInstanceType": "c5.18xlarge", "InstanceCount": NODES + 1},
        Configurations=json.loads((CONF / "emr" / "configurations.json").read_text()),
        BootstrapActions=[{"Name": "sparkq", "ScriptBootstrapAction": {"Path": "s3://BUCKET/sparkq/bootstrap.sh"}}],
        JobFlowRole="EMR_EC2_DefaultRole", ServiceRole="EMR_DefaultRole",
    )["JobFlowId"]
    emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps)
    (found,) = emr.list_steps(ClusterId=cluster)["Steps"]
    assert found["Config"]["Args"] == steps[0]["HadoopJarStep"]["Args"] and found["Config"]["Jar"] == "command-runner.jar"
    kept = emr.describe_cluster(ClusterId=cluster)["Cluster"]["Configurations"]
    assert {entry["Classification"]: entry["Properties"] for entry in kept} == classified()
    emr.close()
    serverless: Any = boto3.client("emr-serverless", **endpoint)
    application = serverless.create_application(releaseLabel="emr-7.13.0", type="SPARK", name="sparkq")["applicationId"]
    run = json.loads((CONF / "emr" / "start_job_run.json").read_text())
    role = "arn:aws:iam::123456789012:role/sparkq"
    started = serverless.start_job_run(**{**run, "applicationId": application, "executionRoleArn": role})
    asked = serverless.get_job_run(applicationId=application, jobRunId=started["jobRunId"])["jobRun"]
    assert asked["jobDriver"] == run["jobDriver"]
    serverless.close()


@pytest.mark.skipif(not (shutil.which("aws") and shutil.which("jq")), reason="no AWS command line or no jq")
def test_the_readmes_commands_run(endpoint: dict[str, str], tmp_path: Path) -> None:
    """One after the other as they stand, but `make package`, which is in `test_package`; no placeholder is left."""
    for folder in ("conf/emr", "jobs"):
        shutil.copytree(CONF.parent / folder, tmp_path / folder)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "environment.tar.gz").touch()
    s3, emr, serverless = (boto3.client(name, **endpoint) for name in ("s3", "emr", "emr-serverless"))
    s3.create_bucket(Bucket="my-bucket")
    # The servers of one process share what they keep.
    earlier = {entry["Id"] for entry in emr.list_clusters()["Clusters"]}
    application = serverless.create_application(releaseLabel="emr-7.13.0", type="SPARK", name="sparkq")["applicationId"]
    environment = {
        **os.environ, "AWS_ENDPOINT_URL": endpoint["endpoint_url"], "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "APPLICATION": application, "ROLE": "arn:aws:iam::123456789012:role/sparkq",
    }
    blocks = re.findall(r"```sh\n(.*?)```", (CONF / "emr" / "README.md").read_text(), re.S)
    script = "".join(["set -eu\nmake() { true; }\n", *blocks])
    done = subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {entry["Key"] for entry in s3.list_objects_v2(Bucket="my-bucket")["Contents"]} == {
        f"sparkq/{name}" for name in ("environment.tar.gz", "predict_images.py", "bootstrap.sh")
    }
    (cluster,) = (entry for entry in emr.list_clusters()["Clusters"] if entry["Id"] not in earlier)
    (step,) = emr.list_steps(ClusterId=cluster["Id"])["Steps"]
    (action,) = emr.list_bootstrap_actions(ClusterId=cluster["Id"])["BootstrapActions"]
    (run,) = serverless.list_job_runs(applicationId=application)["jobRuns"]
    submitted = serverless.get_job_run(applicationId=application, jobRunId=run["id"])["jobRun"]
    for told in (step["Config"]["Args"], step["Name"], action, submitted):
        assert not re.search("BUCKET|RUN_ID|APPLICATION_ID|ROLE_ARN", json.dumps(told, default=str))
    for client in (s3, emr, serverless):
        client.close()


@pytest.mark.parametrize("name", IN_TABLE)
def test_the_driver_fits_beside_the_executors(name: str) -> None:
    """In cluster mode one of the nodes has the driver's container as well: 4 GB, and a tenth more."""
    shape, memory = planned(name)
    a_node = shape.executors // NODES
    assert shape.memory_limit_mb is not None
    assert a_node * memory.total_mb + 1.1 * driver_memory_mb(FILES) <= a_node * shape.memory_limit_mb
    assert a_node * shape.cores + 1 <= instance_named(name).vcpus


def test_the_table_of_instances_is_the_plans() -> None:
    rows = []
    for name in IN_TABLE:
        instance, (shape, memory) = instance_named(name), planned(name)
        target = "`vnni`" if "avx512_vnni" in instance.isa else "`avx2`" if "avx2" in instance.isa else "no INT8"
        rows.append(
            f"| {name} | {instance.vcpus} | {instance.memory_mb // 1024} | {target} | {shape.executors // NODES} | "
            f"{shape.cores} | {memory.heap_mb}m | {memory.overhead_mb}m | {shape.executors * shape.cores} |",
        )
    found = re.findall(r"^\| c?m?\d\w*\.\d.*\|$", (CONF / "emr" / "README.md").read_text(), re.M)
    assert found == rows, "\n".join(rows)
