"""Every field of every endpoint of the OpenAI server with values that it does not take: a 4xx, and nobody is harmed."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Serve
from tests.support.live.hostile_values import VALUES, WITHIN_TEXT, body
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, LiveShim, shimming
from tests.support.live.unharmed import unharmed

pytestmark = pytest.mark.live

USER = {"role": "user", "content": "x"}
ASKED: dict[str, dict[str, object]] = {
    "/v1/chat/completions": {"model": MODEL, "messages": [USER], "max_tokens": 1},
    "/v1/completions": {"model": MODEL, "prompt": "x", "max_tokens": 1},
    "/tokenize": {"prompt": "x"},
    "/detokenize": {"tokens": [1]},
}
_CALLED = f'{{"name": "f", "arguments": {WITHIN_TEXT[-3]}}}'
"""A tool call whose arguments are nested deeply."""
NESTED = (
    *(
        '[{"role": "user", "content": null}]',
        '[{"role": "user", "content": []}]',
        '[{"role": "user", "content": 1e400}]',
    ),
    *(
        '[{"role": "user", "content": [{"type": "text", "text": "\\ud800"}]}]',
        '[{"role": "assistant", "tool_calls": []}]',
    ),
    f'[{{"role": "assistant", "tool_calls": [{{"id": "x", "type": "function", "function": {_CALLED}}}]}}]',
    *('[{"type": "function", "function": null}]', '[{"type": "function", "function": {"name": "\\ud800"}}]'),
    *(
        '{"type": "json_schema", "json_schema": null}',
        '{"type": "regex", "regex": "(a+)+$"}',
        '{"include_usage": 1e400}',
    ),
    *('{"1": 101}', '{"1": NaN}', "[[1], []]", "[[1e400]]", '["x", [1]]'),
)
BODIES = (
    b"",
    b"[",
    b"[]",
    b"null",
    b'"x"',
    b"\xff",
    b"\xef\xbb\xbf{}",
    b"[" * 100_000,
    b"\0",
    b'{"a": "\xed\xa0\x80"}',
)
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/json; charset=utf-16"},
    *({"Content-Encoding": e} for e in ("gzip", "deflate", "br", "gzip, gzip, identity")),
    *({name: "\xff" * 300} for name in ("Authorization", "X-Request-Id", "traceparent", "Accept")),
)


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay"}})


@pytest.fixture(scope="module")
def shim(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    with shimming(server, tmp_path_factory.mktemp("shim")) as found:
        yield found


def properties(shim: LiveShim, path: str) -> list[str]:
    """The fields of an endpoint's body by the server's own document."""
    with urllib.request.urlopen(f"{shim.url}/openapi.json") as reply:
        document = json.load(reply)
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return list(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"])


class Asker:
    """Posts to the shim over one connection, and keeps what was not answered as it must be."""

    def __init__(self, shim: LiveShim, path: str) -> None:
        self.wrong: list[Any] = []
        self._connection = http.client.HTTPConnection(shim.url.removeprefix("http://"), timeout=60)
        self._path = path

    def post(self, about: object, data: bytes, headers: dict[str, str]) -> None:
        try:
            self._connection.request("POST", self._path, data, headers)
            reply = self._connection.getresponse()
            status, said = reply.status, reply.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self.wrong.append((about, repr(error)))
            return
        if status >= 500 or "internal error" in said or "Traceback" in said:
            self.wrong.append((about, status, said[:300]))


@pytest.mark.parametrize("path", ASKED)
def test_values_that_no_field_takes(server: LiveServer, shim: LiveShim, path: str) -> None:
    asker = Asker(shim, path)
    with unharmed(server):
        for name in (*properties(shim, path), "no_such_name"):
            for value in (*VALUES, *WITHIN_TEXT, *NESTED):
                asker.post((name, value[:80]), body(ASKED[path], name, value), {"Content-Type": "application/json"})
        for data in (*BODIES, json.dumps(ASKED[path]).encode()):
            for headers in HEADERS:
                asker.post((data[:20], headers), data, headers)
    assert asker.wrong == []
    assert "Traceback" not in shim.log.read_text()
