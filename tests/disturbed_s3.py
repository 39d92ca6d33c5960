"""The local S3 server behind a proxy that delays and holds requests, and refuses some: object storage on a bad day."""
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

_HOLD_SECONDS = 120
# These are of one connection, not of what goes through it.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "date", "server"}
SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'

_ANSWERS = {
    409: b'<?xml version="1.0"?><Error><Code>ConditionalRequestConflict</Code><Message>Please try again.</Message></Error>',
    501: b'<?xml version="1.0"?><Error><Code>NotImplemented</Code><Message>A header is not implemented.</Message></Error>',
}
"""Answers of S3 where another write of the key is under way, and of a store that knows no conditions."""


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
    lost_answers : dict of str to float
        The same, for writes (PUT), which are passed on all the same.
    conditions : dict of int to dict of str to float
        A status to the same, for writes with ``If-None-Match``, which are answered so and not passed on.
    held_writes : str, optional
        Writes of keys with this end wait, each until its event in `held` is set.
    """

    delay_seconds: float = 0.0
    refusals: dict[str, float] = field(default_factory=dict)
    resets: dict[str, float] = field(default_factory=dict)
    lost_answers: dict[str, float] = field(default_factory=dict)
    conditions: dict[int, dict[str, float]] = field(default_factory=dict)
    held_writes: str | None = None
    held: list[threading.Event] = field(default_factory=list)
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

    def pass_by(self, command: str, path: str) -> bool:
        """Whether the request may go on, after it was held if it is to be."""
        if command != "PUT" or self.held_writes is None or not path.endswith(self.held_writes):
            return True
        release = threading.Event()
        with self.lock:
            self.held.append(release)
        return release.wait(_HOLD_SECONDS)


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
            if not disturbances.pass_by(self.command, path) or disturbances.happens(disturbances.resets, path):
                self.close_connection = True
                return
            if disturbances.happens(disturbances.refusals, path):
                self._send(503, {}, SLOW_DOWN)
                return
            if "If-None-Match" in self.headers:
                for status, ends in disturbances.conditions.items():
                    if disturbances.happens(ends, path):
                        self._send(status, {}, _ANSWERS[status])
                        return
            connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                if self.command == "PUT" and disturbances.happens(disturbances.lost_answers, path):
                    self.close_connection = True
                    return
                self._send(answer.status, dict(answer.getheaders()), content)
            finally:
                connection.close()

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
            for name, value in headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

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
