"""Messages between an engine's process and its clients: what is encoded is decoded again, however the socket cut it."""

from __future__ import annotations

import msgpack
import pytest

from qwen_triton.engines.process.messages import (
    MessageReader,
    decode_chunk,
    decode_request,
    encode_chunk,
    encode_message,
    encode_request,
)
from qwen_triton.types import EngineRequest, PromptLogProbs, SamplingParams, TokenChunk


@pytest.mark.parametrize(
    ("chunk", "item"),
    [
        (TokenChunk([1, 2]), [5, [1, 2]]),
        (TokenChunk([], finish="length"), [5, [], {"finish": "length"}]),
        (
            TokenChunk([1], [-0.5], sequence=1, last=False),
            [5, [1], {"log_probs": [-0.5], "sequence": 1, "last": False}],
        ),
    ],
)
def test_a_chunk_has_only_what_differs_from_a_plain_one(chunk: TokenChunk, item: list[object]) -> None:
    assert encode_chunk(5, chunk) == item
    decoded = decode_chunk(msgpack.unpackb(msgpack.packb(item)))
    assert (decoded, type(decoded)) == (chunk, TokenChunk)


def test_a_request_comes_back_whole() -> None:
    request = EngineRequest(
        (1, 2),
        SamplingParams(max_tokens=4, seed=2**63, temperature=0.5, logprobs=2),
        end_ids=(9,),
        stop_token_ids=(8,),
        stop_sequences=((1, 2), (3,)),
        bad_words=((4,),),
        bias={7: -1.5},
        queue_timeout_s=0.5,
        lora_name="pirate",
    )
    assert decode_request(msgpack.unpackb(msgpack.packb(encode_request(request)), strict_map_key=False)) == request


def test_log_probs_of_a_prompt_come_with_the_first_chunk() -> None:
    chunk = TokenChunk([7], prompt=PromptLogProbs([-0.5, -1.0], [[[4, -0.5]], [[9, -0.25]]]))  # type: ignore[list-item]  # pairs are lists behind the socket
    decoded = decode_chunk(msgpack.unpackb(msgpack.packb(encode_chunk(5, chunk))))
    assert (decoded, type(decoded.prompt)) == (chunk, PromptLogProbs)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_messages_are_whole_however_the_bytes_are_cut(size: int) -> None:
    messages = [["step", [[1, [2, 3]]]], ["cancel", 7], ["hello", {"name": "x" * 300}]]
    data, reader = b"".join(encode_message(*m) for m in messages), MessageReader()
    assert [m for i in range(0, len(data), size) for m in reader.feed(data[i : i + size])] == messages
