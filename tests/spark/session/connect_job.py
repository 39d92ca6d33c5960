"""What `test_connect` runs in a process of its own: a session of Spark Connect, its server on two local cores.

Arguments: artifact, folder of images, where to write what was found (JSON).
"""
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

import sparkq
from sparkq.ml import ImageClassifier


def main(model: str, images: str, output: str) -> None:
    """Run the jobs."""
    # It takes no configuration beside the address: the server's is fixed.
    spark = SparkSession.builder.remote("local[2]").getOrCreate()
    artifact = sparkq.ModelArtifact.load(model)
    files = spark.read.format("binaryFile").load(images)
    found: dict[str, Any] = {"session": type(spark).__module__}
    predictions = sparkq.predict(files, artifact)
    found["columns"] = predictions.columns
    found["rows"] = [row.asDict(recursive=True) for row in predictions.drop("modificationTime").collect()]
    # Two models of one session, and the first again.
    other = sparkq.predict(files, artifact, config=sparkq.InferenceConfig(engine="onednn", batch_size=3))
    found["engines"] = sorted({row["engine"] for frame in (other, predictions) for row in frame.select("engine").collect()})
    try:
        sparkq.predict(files, artifact, config=sparkq.InferenceConfig(engine="auto", same_everywhere=True))
    except sparkq.SparkqError as error:
        found["same_everywhere"] = str(error)
    try:
        sparkq.write_predictions(predictions, f"{output}.runs")
    except sparkq.SparkqError as error:
        found["write_predictions"] = str(error)
    files.createOrReplaceTempView("images")
    sparkq.register_udf(spark, "classify", artifact)
    answered = spark.sql("SELECT path, classify(content) AS answer FROM images WHERE length > 0").collect()
    found["sql"] = {row["path"]: row["answer"].asDict(recursive=True) for row in answered}
    stage = ImageClassifier(artifact, topK=2)
    found["stage"] = [row["label"] for row in stage.transform(files).orderBy("path").collect()]
    try:
        stage.save(f"{output}.stage")
    except sparkq.SparkqError as error:
        found["save"] = str(error)
    Path(output).write_text(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
