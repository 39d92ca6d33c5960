"""Uris with a key and a secret in them: whoever refuses them, and whatever is written, the secret is nowhere."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome
from tests.local_s3 import BUCKET, LocalS3
from tests.spark.s3a.conftest import MODEL, PHOTOS
from tests.spark.s3a.local_s3a import S3ASession

pytestmark = [pytest.mark.jvm, pytest.mark.s3a]
KEY, FOLDER = "AKIDEXAMPLE", "credentials"
SECRETS = {"plain": "wJalrXUtnFEMIbPxRfiCY", "slash": "wJalrXUt/nFEMI+bPxRf/iCY", "percent": "wJalrXUt%2FnFEMIbPxRfiCY"}
PARTS = [re.compile(part) for part in ("AKIDEXAMPLE", "wJalr", "nFEMI", "iCY")]
secrets = pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())


def place(secret: str, path: str) -> str:
    """A uri with credentials."""
    return f"s3a://{KEY}:{secret}@{BUCKET}/{path}"


def leaks(text: str) -> list[str]:
    """Lines with a part of the credentials."""
    return [line[:300] for line in text.splitlines() if any(part.search(line) for part in PARTS)]


def assert_kept(outcome: Outcome) -> None:
    """Refused in a sentence; nothing of the credentials there, or in a log file that it names."""
    logs = [Path(path).read_text(encoding="utf-8") for path in re.findall(r"\S+/sparkq-\w+\.log", outcome.err)]
    assert leaks("\n".join([outcome.out, outcome.err, *logs])) == []
    outcome.assert_refused("***@")


@secrets
@pytest.mark.parametrize("option", ["--input", "--output", "--quarantine"])
def test_predict_refuses(s3a: S3ASession, option: str, secret: str) -> None:
    """Hadoop takes no credentials in a uri."""
    places = {"--input": PHOTOS, "--output": f"s3a://{BUCKET}/{FOLDER}/none"} | {option: place(secret, f"{FOLDER}/refused")}
    arguments = [part for pair in places.items() for part in pair]
    assert_kept(s3a.sparkq("predict", "--model", MODEL, *arguments))


@secrets
def test_plan_refuses(s3a: S3ASession, secret: str) -> None:
    """The same, where only a listing is wanted."""
    assert_kept(s3a.sparkq("plan", "--model", MODEL, "--input", place(secret, "photos")))


@secrets
def test_report_refuses(s3a: S3ASession, secret: str) -> None:
    """There is no such output."""
    assert_kept(s3a.sparkq("report", place(secret, f"{FOLDER}/absent"), "--output", f"s3a://{BUCKET}/{FOLDER}/absent.html"))


@secrets
def test_inspect_refuses(s3a: S3ASession, secret: str) -> None:
    """There is no such model."""
    assert_kept(s3a.sparkq("inspect", "--model", place(secret, "models/none.sparkq")))


@secrets
def test_read_predictions_refuses(s3a: S3ASession, secret: str) -> None:
    """An exception of ours, as a notebook shows it."""
    message = s3a.refusal(place(secret, f"{FOLDER}/absent"))
    assert leaks(message) == []
    assert not message.startswith("unexpected") and "***@" in message


def test_what_a_run_writes(s3a: S3ASession, server: LocalS3) -> None:
    """Model and images by uris that pyarrow takes: rows keep their uri, and nothing else says it."""
    secret = SECRETS["percent"]
    uris = [place(secret, f"photos/{name}").replace("s3a:", "s3:") for name in ("0.png", "1.png", "none.png")]
    server.client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/uris.txt", Body="\n".join(uris).encode())
    output = f"s3a://{BUCKET}/{FOLDER}/out"
    found = s3a.sparkq(
        "predict", "--model", place(secret, "models/digits.sparkq"), "--input", f"s3a://{BUCKET}/{FOLDER}/uris.txt",
        "--input-format", "uri", "--output", output, "--max-error-rate", "1", "--run-id", "secret", "--json",
    )
    assert found.code == 0, found.err
    assert (found.document["ok"], found.document["error_codes"]) == (2, {"not_found": 1})
    assert leaks(found.out + found.err) == []
    rows = s3a.predictions(output)
    assert sorted(row["uri"] for row in rows) == sorted(uris)
    assert leaks("\n".join(str(row.get("error_message")) for row in rows)) == []
    assert leaks(server.objects()[f"{FOLDER}/out/_sparkq/secret.json"].decode()) == []
    page = s3a.sparkq("report", output, "--output", f"s3a://{BUCKET}/{FOLDER}/report.html")
    assert page.code == 0, page.err
    assert leaks(server.objects()[f"{FOLDER}/report.html"].decode()) == []
