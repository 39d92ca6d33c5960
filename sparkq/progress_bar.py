"""Progress bars on standard error: whether somebody looks, and a bar that needs no thread of its own."""
from __future__ import annotations

import os
import sys
import warnings
from typing import Any

__all__ = ["is_watched", "new_bar"]


def is_watched(*, spark_shows: bool) -> bool:
    """Whether somebody looks: in a notebook, or in a terminal; not under Airflow, and not where output goes to a file.

    Parameters
    ----------
    spark_shows : bool
        Whether Spark shows a bar of its own; in a terminal a second one would write over it, in a notebook it would not.
    """
    if "AIRFLOW_CTX_DAG_ID" in os.environ:
        return False
    ipython = sys.modules.get("IPython")
    if ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None:
        return True
    return not spark_shows and all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))


def new_bar(**options: Any) -> Any:
    """A bar of tqdm's with these options; whoever makes it says when it is drawn anew."""
    with warnings.catch_warnings():
        # Without ipywidgets a notebook gets a bar of text, which will do.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    # tqdm's own thread would outlive the job.
    return type("Bar", (tqdm,), {"monitor_interval": 0})(dynamic_ncols=True, **options)
