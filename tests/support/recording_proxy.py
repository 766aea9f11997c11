"""A proxy in front of an HTTP server that keeps what a program asked and was answered. Answers are passed on as they come."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

UPSTREAM_S = 120.0
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Exchange:
    """One request and its answer. `body`: the request's JSON, None where it has none."""

    method: str
    path: str
    body: Any
    status: int
    answer: str


@contextmanager
def recording(upstream: str) -> Iterator[tuple[str, list[Exchange]]]:
    """(HOST:PORT to send to, what has been asked there so far), in front of `upstream`, HOST:PORT."""
    exchanges: list[Exchange] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._forward()

        def do_GET(self) -> None:
            self._forward()

        def log_message(self, *_: Any) -> None:
            """The exchanges are the log."""

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            connection = http.client.HTTPConnection(upstream, timeout=UPSTREAM_S)
            sent = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body, sent)
            reply = connection.getresponse()
            self.close_connection = True
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            answer = b""
            while part := reply.read1(65_536):
                answer += part
                self.wfile.write(part)
            connection.close()
            exchanges.append(Exchange(self.command, self.path, _json(body), reply.status, answer.decode()))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", exchanges
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
