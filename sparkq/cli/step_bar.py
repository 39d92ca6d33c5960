"""The bar of `sparkq quantize` and `sparkq convert`: the step, how far it is, and the time that is left of it."""
from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["shown_steps"]


@contextmanager
def shown_steps() -> Iterator[None]:
    """Show the steps within on standard error, where that is a terminal, and not under Airflow."""
    if "AIRFLOW_CTX_DAG_ID" in os.environ or sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    # It comes with torch, which other commands do without.
    from sparkq.quantization.steps import heard

    bar = _StepBar()
    try:
        with heard(bar):
            yield
    finally:
        bar.close()


class _StepBar:
    """One bar a step; it goes when the next one comes."""

    def __init__(self) -> None:
        self._step = ""
        self._bar: Any = None

    def __call__(self, step: str, done: int, total: int) -> None:
        # The terminal may be closed meanwhile, or take no bar: the work goes on.
        with contextlib.suppress(Exception):
            if step != self._step or done == 0:
                self.close()
                self._step, self._bar = step, _new_bar(step, total)
            if self._bar is not None:
                self._bar.n = done
                self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        bar, self._bar = self._bar, None
        if bar is not None:
            with contextlib.suppress(Exception):
                bar.close()


def _new_bar(step: str, total: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    # It is drawn anew after every part: no need of tqdm's own thread.
    return type("Bar", (tqdm,), {"monitor_interval": 0})(total=total, desc=step, leave=False, dynamic_ncols=True)
