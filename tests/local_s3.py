"""A real S3 server on the loopback interface, for tests of ``s3://`` uris."""
from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from sparkq.images import read

BUCKET = "sparkq-tests"


@dataclass(frozen=True)
class LocalS3:
    """A running server with one empty bucket.

    Parameters
    ----------
    host, port : str, int
        Where it listens.
    client : boto3 S3 client
        To look at the bucket by other means than pyarrow's.
    """

    host: str
    port: int
    client: Any

    def uri(self, key: str) -> str:
        """A uri that says everything that pyarrow needs: key, secret, endpoint."""
        return (
            f"s3://key:secret@{BUCKET}/{key}?endpoint_override={self.host}%3A{self.port}&scheme=http&region=us-east-1"
        )

    def environment(self) -> dict[str, str]:
        """The same by environment variables, so that a bare ``s3://bucket/key`` finds it."""
        return {
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{self.host}:{self.port}", "AWS_EC2_METADATA_DISABLED": "true",
        }

    def objects(self) -> dict[str, bytes]:
        """Key to content of everything in the bucket."""
        keys = [entry["Key"] for entry in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        return {key: self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


@contextlib.contextmanager
def local_s3() -> Iterator[LocalS3]:
    """Start the server, make the bucket, and stop it at the end."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        client = boto3.client(
            "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
            aws_access_key_id="key", aws_secret_access_key="secret",
        )
        client.create_bucket(Bucket=BUCKET)
        yield LocalS3(host, port, client)
        client.close()
    finally:
        # The servers of a process share their buckets: the next one starts with none.
        # A process keeps how it reached a bucket, of which the next server listens elsewhere.
        read._filesystem.cache_clear()
        with urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")):
            server.stop()
