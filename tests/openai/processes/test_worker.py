"""What a worker does at its start, before it serves."""

from __future__ import annotations

import json
import socket

from starlette.types import Scope

from qwen_triton_openai.middleware.access_log import AccessLog
from qwen_triton_openai.middleware.observe import RequestRecord
from qwen_triton_openai.processes.worker import whole_lines


def test_a_line_of_the_log_is_one_write() -> None:
    """However long: a socket of packets keeps what each write wrote."""
    metadata = {f"k{i}": "é" * 250 for i in range(60)}
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    scope: Scope = {"caller_notes": {"metadata": metadata}}
    with reader, writer, whole_lines(writer.fileno()) as stream:
        for number in range(2):
            with AccessLog(stream).watch(RequestRecord(f"r{number}", "POST", "/v1/completions"), scope):
                pass
        lines = [json.loads(reader.recv(1 << 20)) for _ in range(2)]
    assert [(line["request_id"], line["metadata"]) for line in lines] == [("r0", metadata), ("r1", metadata)]
