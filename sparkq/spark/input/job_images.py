"""The images that a job's options name, found in the same way by a plan and by the job itself."""
from __future__ import annotations

from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, SparkSession

from sparkq.config import InferenceConfig, InferenceJob
from sparkq.images.listing import Listing
from sparkq.spark.input.columns import find_uri_column
from sparkq.spark.input.inventory import Inventory, take_inventory
from sparkq.spark.input.sources import FoundImages, find_images, images_of
from sparkq.spark.input.worker_reads import choose_reads

__all__ = ["JobImages", "read_job_images"]


@dataclass(frozen=True)
class JobImages:
    """The images of a job.

    Parameters
    ----------
    df : DataFrame
        For `sparkq.predict`.
    config : InferenceConfig
        With the column that holds the images, or where they are.
    inventory : Inventory
        How many there are, and how large.
    listing : Listing, optional
        Where each image is a file that was found in a folder.
    read : str
        Who shall open these files, as `sparkq.spark.input.worker_reads.choose_reads` takes it.
    """

    df: DataFrame
    config: InferenceConfig
    inventory: Inventory
    listing: Listing | None
    read: str

    def part(self, listing: Listing) -> JobImages:
        """Some of the files, read in the same way."""
        found = images_of(self.df.sparkSession, listing)
        # Who reads was settled for the whole input; the part may have nothing by which to find out.
        read = "workers" if self.config.uri_column is not None else "spark"
        df, config = choose_reads(found, replace(self.config, uri_column=None), read=read)
        return replace(self, df=df, config=config, inventory=self.inventory.part(listing.images), listing=listing)


def read_job_images(spark: SparkSession, job: InferenceJob) -> JobImages:
    """List the input of a job, and settle which column holds the images and who opens them. On the driver.

    Parameters
    ----------
    spark : SparkSession
        A classic session.
    job : InferenceJob
        Its input, format, columns and ``read``.

    Raises
    ------
    InputError
        If there is no such input or column, no image in it, or the workers cannot read it as they shall.
    """
    found = find_images(spark, job.input, input_format=job.input_format, glob=job.glob)
    return _settled(found, job)


def _settled(found: FoundImages, job: InferenceJob) -> JobImages:
    config = job.inference()
    if job.input_format == "uri":
        config = replace(config, uri_column=find_uri_column(found.df.schema, job.uri_column))
    df, config = choose_reads(found, config, read=job.read)
    return JobImages(df, config, take_inventory(replace(found, df=df), job.input), found.listing, job.read)
