"""Lines of server-sent events end with LF, CR and CRLF alone, wherever the bytes are cut."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton_client.transport.event_lines import EventLines, event_data
from qwen_triton_client.transport.http import HttpResponses

ODD = "a\u2028b\u2029c\x85d\x0b\x0ce\x1cf"
"""Where Python's and httpx's readers of lines split too."""


@given(
    lines=st.lists(st.text(st.sampled_from("ab \u2028\x85\x0b:"), max_size=4), min_size=1, max_size=6),
    ends=st.lists(st.sampled_from(["\n", "\r", "\r\n"]), min_size=6, max_size=6),
    size=st.integers(1, 5),
)
def test_lines_are_the_same_however_they_are_cut(lines: list[str], ends: list[str], size: int) -> None:
    """A line that follows a CR and is empty cannot be told from the rest of a CRLF, so ends alternate with text."""
    lines = [line or "x" for line in lines]
    data = "".join(line + end for line, end in zip(lines, ends, strict=False)).encode()
    reader = EventLines()
    found = [line for at in range(0, len(data), size) for line in reader.feed(data[at : at + size])]
    assert [line.decode() for line in found] == lines


def test_a_line_that_cr_ends_does_not_wait() -> None:
    """Nothing may come after it."""
    reader = EventLines()
    assert reader.feed(b"data: 1\r") == [b"data: 1"]
    assert reader.feed(b"\ndata: 2\r\n") == [b"data: 2"]
    assert reader.feed(b"\r\n") == [b""]


def test_data_is_what_stands_behind_the_colon() -> None:
    """With the blank or without it; comments and other fields are none."""
    assert list(event_data([b": waiting\n\nevent: x\nda", b"ta: {}\n\ndata:[DO", b"NE]\n\n"])) == ["{}", "[DONE]"]


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
def test_a_streamed_answer_with_odd_characters_is_whole(end: str) -> None:
    """Triton's generate_stream sends them as they are."""

    def events() -> Iterator[bytes]:
        for text in (ODD, "北京"):
            body = json.dumps({"text_output": text}, ensure_ascii=False)
            yield f"data: {body}{end}".encode()

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events())

    client = httpx.Client(transport=httpx.MockTransport(answer))
    responses = HttpResponses(client, client.build_request("POST", "http://triton/v2"), "http://triton")
    assert list(responses) == [[TextPiece(ODD)], [TextPiece("北京")]]
