"""The program that runs in ``.venv-s3a``: a session that does what standard input says, one JSON document a line."""
from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from typing import Any
from unittest.mock import patch

from pyspark.sql import SparkSession

from sparkq.cli import main
from sparkq.errors import SparkqError, one_line
from sparkq.spark.output.read import read_predictions
from sparkq.spark.session.session import session_for


def run(arguments: list[str]) -> dict[str, Any]:
    """A command, and what it left."""
    out, err = io.StringIO(), io.StringIO()
    # Each command's log is to go where its own standard error does.
    logging.root.handlers.clear()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as error:
            code = int(error.code or 0)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def read(spark: SparkSession, output: str, options: dict[str, Any]) -> dict[str, Any]:
    """Rows of committed runs, or why there are none."""
    try:
        return {"rows": [json.loads(row) for row in read_predictions(spark, output, **options).toJSON().collect()]}
    except SparkqError as error:
        return {"err": str(error)}
    # The next test is to find the session alive.
    except Exception as error:
        return {"err": f"unexpected: {one_line(error)}"}


def serve() -> None:
    """Answer until standard input ends."""
    # What else writes to standard output, Java with it, goes to standard error.
    with open(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        with session_for("local[1]") as spark:
            for line in sys.stdin:
                request = json.loads(line)
                with patch.dict(os.environ, request["variables"]):
                    answer = read(spark, request["read"], request["options"]) if "read" in request else run(request["arguments"])
                print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
