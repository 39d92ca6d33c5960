"""What `test_cluster` runs in a process of its own: jobs on ``local-cluster[2,1,1024]``, two executors of one core each.

Arguments: artifact, folder of images, where to write what was found (JSON).
"""
from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyspark import SparkContext, TaskContext
from pyspark.sql import SparkSession

import sparkq

PARTITIONS, FAILING_PARTITIONS = 20, (0, 11)


def in_dataframe(spark: SparkSession, images: str, artifact: sparkq.ModelArtifact) -> dict[str, Any]:
    """The main job: files to rows."""
    predictions = sparkq.predict(sparkq.read_images(spark, images).repartition(PARTITIONS), artifact)
    rows = {Path(row["path"]).name: [row["label"], row["score"]] for row in predictions.collect()}
    return {"partitions": predictions.rdd.getNumPartitions(), "rows": rows}


def in_rdd(context: SparkContext, images: str, artifact: sparkq.ModelArtifact) -> dict[str, Any]:
    """The same over an RDD, with worker and attempt of each row; some first attempts die after rows were predicted."""
    pairs = [(path.name, path.read_bytes()) for path in sorted(Path(images).iterdir())]

    def observed(rows: Iterator[Any]) -> Iterator[Any]:
        task = TaskContext.get()
        for index, (key, row) in enumerate(rows):
            if index == 2 and task.partitionId() in FAILING_PARTITIONS and task.attemptNumber() == 0:
                raise RuntimeError("this attempt fails on purpose")
            yield key, row["label"], row["score"], task.partitionId(), task.attemptNumber(), os.getpid()

    predicted = sparkq.predict_rdd(context.parallelize(pairs, PARTITIONS), artifact, config=sparkq.InferenceConfig(batch_size=2))
    found = predicted.mapPartitions(observed).collect()
    return {
        "attempts": {partition: attempt for *_, partition, attempt, _ in found},
        "pids": sorted({pid for *_, pid in found}),
        "rows": {key: [label, score] for key, label, score, *_ in found},
    }


def main(model: str, images: str, output: str) -> None:
    """Run the jobs."""
    spark = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false").config("spark.locality.wait", "0")
        .config("spark.scheduler.minRegisteredResourcesRatio", "1")
        .config("spark.scheduler.maxRegisteredResourcesWaitingTime", "120s")
        .getOrCreate()
    )
    try:
        artifact = sparkq.ModelArtifact.load(model)
        found = {"dataframe": in_dataframe(spark, images, artifact), "rdd": in_rdd(spark.sparkContext, images, artifact)}
        Path(output).write_text(json.dumps(found))
    finally:
        spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
