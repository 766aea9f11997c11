"""What operates the shim in front of a real server: TLS and keys with the real OpenAI client, traces through Triton."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from qwen_triton_openai.middleware.keys import ApiKey, KeyLimits, digest_of, new_secret
from tests.live.conftest import Serve
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, shimming

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = PARENT.split("-")[1]
WAIT_S = 30.0


class Collector:
    """A collector of traces: (trace id, span id, parent's span id) of every span it was sent, by the service's name."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                collector.take(data, self.headers["content-type"])
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, data: bytes, kind: str) -> None:
        if "json" in kind:
            self._take_json(json.loads(data))
            return
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
            name = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                    self.spans.append((name, *ids))

    def _take_json(self, data: Any) -> None:
        for resource in data["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    self.spans.append(("triton", span["traceId"], span["spanId"], span.get("parentSpanId", "")))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()


def wait_for_spans(collector: Collector) -> list[tuple[str, str, str, str]]:
    """Those of the caller's trace, once both services have sent theirs."""
    ends = time.monotonic() + WAIT_S
    found: list[tuple[str, str, str, str]] = []
    while {span[0] for span in found} != {"triton", "qwen-triton-shim"}:
        assert time.monotonic() < ends, collector.spans
        time.sleep(0.1)
        found = [span for span in list(collector.spans) if span[1] == TRACE]
    return found


def test_a_trace_goes_from_the_caller_through_the_shim_to_triton(
    serve: Serve, qwen25_folder: Path, tmp_path: Path
) -> None:
    """One trace: the caller's span, the shim's below it, Triton's below that."""
    with collecting() as collector:
        server = serve(
            {
                "model": str(qwen25_folder),
                "engine": {"kind": "replay"},
                "server": {"otlp_endpoint": collector.endpoint},
            }
        )
        with shimming(server, tmp_path, {"otlp_endpoint": collector.endpoint}) as shim:
            body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
            reply = httpx.post(
                f"{shim.v1}/chat/completions", json=body, headers={"traceparent": PARENT}, timeout=WAIT_S
            )
            assert reply.status_code == 200
            found = wait_for_spans(collector)
        ours = [s for s in found if s[0] == "qwen-triton-shim"]
        assert [s[3] for s in ours] == [PARENT.split("-")[2]]
        assert ours[0][2] in {parent for name, _, _, parent in found if name == "triton"}


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def test_the_openai_client_over_tls_with_a_key(replay_server: LiveServer, tmp_path: Path) -> None:
    """Refused without one, answered with it, limited as the key says; a key that was added works without a restart."""
    certificate, _ = _certificate(tmp_path)
    secret, later = new_secret(), new_secret()
    keys = tmp_path / "keys"
    keys.write_text(ApiKey("alice", digest_of(secret), KeyLimits(requests_per_minute=2)).line + "\n")
    settings = {"api_keys_file": "keys", "tls_certificate": "certificate.pem", "tls_key": "key.pem"}
    context = ssl.create_default_context(cafile=str(certificate))
    with shimming(replay_server, tmp_path, settings) as shim:

        def ask(key: str) -> str | None:
            http = openai.DefaultHttpxClient(verify=context)
            with openai.OpenAI(base_url=shim.v1, api_key=key, max_retries=0, http_client=http) as client:
                messages: Any = [{"role": "user", "content": "hi"}]
                return (
                    client.chat.completions.create(model=MODEL, messages=messages, max_tokens=3)
                    .choices[0]
                    .message.content
                )

        with pytest.raises(openai.AuthenticationError):
            ask(later)
        assert ask(secret)
        assert ask(secret)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(secret)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        keys.write_text(keys.read_text() + ApiKey("bob", digest_of(later)).line + "\n")
        ends = time.monotonic() + WAIT_S
        while True:
            try:
                assert ask(later)
                break
            except openai.AuthenticationError:
                assert time.monotonic() < ends
                time.sleep(0.2)
    text = shim.log.read_text()
    assert '"key": "alice"' in text
    assert secret not in text
    assert later not in text


@pytest.mark.parametrize(
    ("settings", "flags", "way", "line"),
    [
        ({"workers": 2}, [], "local", "straight to 1 of its 1 processes, over Unix sockets"),
        ({}, ["--no-local-sockets"], "grpc", None),
    ],
)
def test_an_operator_sees_which_way_requests_go(
    settings: dict[str, Any],
    flags: list[str],
    way: str,
    line: str | None,
    replay_server: LiveServer,
    tmp_path: Path,
) -> None:
    """The log says it once in each worker, the metrics count it. Readiness, which asks first, is not counted."""
    said = f"qwen-triton shim: requests to tensorrt_llm_bls go {line}"
    with shimming(replay_server, tmp_path, settings, flags) as shim:
        ends = time.monotonic() + WAIT_S
        while line and shim.log.read_text().splitlines().count(said) < settings.get("workers", 1):
            assert time.monotonic() < ends, shim.log.read_text()
            assert httpx.get(f"{shim.url}/health/ready", timeout=WAIT_S).status_code == 200  # any worker, by chance
        for _ in range(3):
            body = {"model": MODEL, "prompt": ["a", "b"], "max_tokens": 2}
            assert httpx.post(f"{shim.v1}/completions", json=body, timeout=WAIT_S).status_code == 200
        counted = [one for one in httpx.get(f"{shim.url}/metrics").text.splitlines() if "_model_requests_total{" in one]
    assert counted == [f'qwen_triton_openai_model_requests_total{{model="{MODEL}",way="{way}"}} 6.0']
    assert [one for one in shim.log.read_text().splitlines() if "requests to" in one] == (
        [said] * settings.get("workers", 1) if line else []
    )
