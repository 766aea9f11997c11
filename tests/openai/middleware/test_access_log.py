"""Access log: one JSON line for each request, without secrets."""

from __future__ import annotations

import io
import json
import os
import socket
from pathlib import Path

import pytest
from starlette.types import Scope

from qwen_triton_openai.middleware.access_log import AccessLog
from qwen_triton_openai.middleware.keys import digest_of
from qwen_triton_openai.middleware.observe import RequestRecord
from tests.support.fake_triton import FakeTriton, answer, chat_body, shim_client
from tests.support.shim_requests import CHAT, OTHER, SECRET, WITH_KEY, chat


def test_the_access_log_is_json_without_secrets(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who, what, how it ended and what it cost; the key's name and not the key, no prompt, no query."""
    with shim_client(FakeTriton([answer("hello")]), api_keys_file=keys) as client:
        client.post(CHAT + "?token=hidden", json=chat_body(), headers={**WITH_KEY, "X-Request-Id": "mine"})
        chat(client, Authorization=f"Bearer {OTHER}x")
    text = capsys.readouterr().out
    first, second = (json.loads(line) for line in text.splitlines())
    named = {k: first[k] for k in ("request_id", "key", "method", "path", "status", "model", "stream")}
    assert named == {
        "request_id": "mine", "key": "alice", "method": "POST", "path": CHAT, "status": 200, "model": "qwen", "stream": False,
    }  # fmt: skip
    assert (first["prompt_tokens"], first["completion_tokens"]) == (5, 3)
    assert first["duration_ms"] >= first["first_token_ms"] >= 0
    assert (second["status"], second["key"], "model" in second) == (401, "-", False)
    for secret in (SECRET, OTHER, "hidden", digest_of(SECRET), '"hi"'):
        assert secret not in text


def test_the_access_log_has_what_a_caller_says_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """`user` and `metadata`, of both endpoints, where they were given."""
    notes = {"user": "u-1", "metadata": {"team": "好"}}
    with shim_client(FakeTriton([answer("hello")])) as client:
        client.post(CHAT, json=chat_body(**notes))
        client.post("/v1/completions", json={"model": "qwen", "prompt": "hi", "user": "u-2"})
        client.post(CHAT, json=chat_body())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [{name: line[name] for name in ("user", "metadata") if name in line} for line in lines]
    assert found == [notes, {"user": "u-2"}, {}]


def test_the_log_goes_where_it_is_told() -> None:
    """A stream of one's own."""
    out = io.StringIO()
    end = AccessLog(out).watch(RequestRecord("i", "GET", "/"), {"type": "http"})
    assert out.getvalue() == ""
    end()
    assert json.loads(out.getvalue())["request_id"] == "i"


def test_a_line_is_one_write() -> None:
    """However long, so that the lines of several processes stay whole: a socket of packets keeps what each write wrote."""
    metadata = {f"k{i}": "é" * 250 for i in range(60)}
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    scope: Scope = {"caller_notes": {"metadata": metadata}}
    with reader, writer, os.fdopen(writer.fileno(), "w", encoding="utf-8", closefd=False) as stream:
        for number in range(2):
            AccessLog(stream).watch(RequestRecord(f"r{number}", "POST", "/v1/completions"), scope)()
        lines = [json.loads(reader.recv(1 << 20)) for _ in range(2)]
    assert [(line["request_id"], line["metadata"]) for line in lines] == [("r0", metadata), ("r1", metadata)]
