"""Settings of the session that a job needs while it runs, and the session's own afterwards."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyspark.sql import SparkSession

from sparkq.planning.partitions import ARROW_BATCH_BYTES, images_an_arrow_batch

__all__ = ["arrow_settings", "session_settings"]


@contextmanager
def session_settings(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """Set what is in `settings`, and leave the session as it was found, also when something fails. On the driver.

    A setting that this version of Spark does not know is left out. The session is one for all threads: another job that it
    starts meanwhile runs with these settings, too.
    """
    known = [key for key in settings if spark.conf.isModifiable(key)]
    # None where nobody set it, although Spark has a default for it.
    before = {key: spark.conf.get(key, None) for key in known}
    try:
        for key in known:
            spark.conf.set(key, settings[key])
        yield
    finally:
        for key, value in before.items():
            if value is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, value)


def arrow_settings(*, mean_bytes: float, largest_bytes: float) -> dict[str, str]:
    """Return settings by which an Arrow batch of images holds about 64 MiB; Spark's default is 10 000 rows of whatever size."""
    return {
        "spark.sql.execution.arrow.maxRecordsPerBatch":
            str(images_an_arrow_batch(mean_bytes=mean_bytes, largest_bytes=largest_bytes)),
        # Spark 4.1 and later.
        "spark.sql.execution.arrow.maxBytesPerBatch": f"{ARROW_BATCH_BYTES}b",
    }
