"""The local S3 server behind a proxy that delays requests and refuses some: object storage on a bad day."""
from __future__ import annotations

import contextlib
import http.client
import http.server
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

from tests.local_s3 import LocalS3

SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'


@dataclass
class Disturbances:
    """What goes wrong, changed by tests while the proxy runs.

    Parameters
    ----------
    delay_seconds : float
        Before each request is passed on.
    refusals : dict of str to float
        End of a key to how many more of its requests get a 503; ``math.inf`` for all.
    resets : dict of str to float
        The same, with connections that are closed without an answer.
    """

    delay_seconds: float = 0.0
    refusals: dict[str, float] = field(default_factory=dict)
    resets: dict[str, float] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def happens(self, kind: dict[str, float], path: str) -> bool:
        """Whether it does so to this request."""
        with self.lock:
            for end, left in kind.items():
                if path.endswith(end) and left > 0:
                    kind[end] = left if math.isinf(left) else left - 1
                    return True
        return False


@dataclass(frozen=True)
class DisturbedS3:
    """The server as it is reached through the proxy, and what the proxy does."""

    s3: LocalS3
    disturbances: Disturbances


@contextlib.contextmanager
def disturbed_s3(server: LocalS3) -> Iterator[DisturbedS3]:
    """Start the proxy, and stop it at the end."""
    disturbances = Disturbances()

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

        def pass_on(self) -> None:
            path = unquote(urlsplit(self.path).path)
            with disturbances.lock:
                disturbances.requests[path.rpartition("/")[2]] += 1
                disturbances.at_once += 1
                disturbances.most_at_once = max(disturbances.most_at_once, disturbances.at_once)
            try:
                self._answer(path)
            finally:
                with disturbances.lock:
                    disturbances.at_once -= 1

        def _answer(self, path: str) -> None:
            time.sleep(disturbances.delay_seconds)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if disturbances.happens(disturbances.resets, path):
                self.close_connection = True
                return
            if disturbances.happens(disturbances.refusals, path):
                self._send(503, {}, SLOW_DOWN)
                return
            connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                self._send(answer.status, dict(answer.getheaders()), answer.read())
            finally:
                connection.close()

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
            kept = {"etag", "content-type", "last-modified", "content-range", "accept-ranges"}
            for name, value in headers.items():
                if name.lower() in kept:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = pass_on

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    proxy = Server(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield DisturbedS3(replace(server, host="127.0.0.1", port=proxy.server_port), disturbances)
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
