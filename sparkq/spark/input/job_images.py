"""`read_job_images`: the images that a job's options name, read in the same way by a plan and by the job itself."""
from __future__ import annotations

from dataclasses import replace

from pyspark.sql import DataFrame, SparkSession

from sparkq.config import InferenceConfig, InferenceJob
from sparkq.spark.input.columns import find_uri_column
from sparkq.spark.input.sources import read_images
from sparkq.spark.input.worker_reads import choose_reads

__all__ = ["read_job_images"]


def read_job_images(spark: SparkSession, job: InferenceJob) -> tuple[DataFrame, InferenceConfig]:
    """List the input of a job, and settle which column holds the images and who opens them. On the driver.

    Parameters
    ----------
    spark : SparkSession
        A classic session.
    job : InferenceJob
        Its input, format, columns and ``read``.

    Returns
    -------
    (DataFrame, InferenceConfig)
        For `sparkq.predict`.

    Raises
    ------
    InputError
        If there is no such input or column, or the workers cannot read it as they shall.
    """
    images = read_images(spark, job.input, input_format=job.input_format, glob=job.glob)
    config = job.inference()
    if job.input_format == "uri":
        config = replace(config, uri_column=find_uri_column(images.schema, job.uri_column))
    return choose_reads(images, config, read=job.read)
