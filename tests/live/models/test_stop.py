"""Stop conditions on the real server: a table computed by hand and by a naive search, at every split of the tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from qwen_triton.text.tokenizer import Tokenizer
from tests.core.text.test_stop_scanner import TABLE, naive
from tests.live.conftest import Serve
from tests.support.live.client import Refused, generate, generate_stream
from tests.support.live.crowd import Grpc, together
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live
both_models = pytest.mark.parametrize("model", [BLS, ENSEMBLE])
IM_END, ENDOFTEXT = 151645, 151643


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    """Echoes as fast as it goes, so that tokens come together in chunks of any size."""
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 1.0}})


def splits(tokenizer: Tokenizer, text: str) -> list[list[int]]:
    """The text as token ids cut at every character: each character by itself, then a whole rest tokenized anew."""
    heads = [tokenizer.encode(text[:at]) + tokenizer.encode(text[at:]) for at in range(len(text) + 1)]
    singles = [i for character in text for i in tokenizer.encode(character)]
    id_of = {data: i for i, data in tokenizer.bytes_by_id.items() if len(data) == 1}
    return [*heads, singles, [id_of[bytes([byte])] for byte in text.encode()]]


def test_the_reference_table_at_every_split(server: LiveServer, qwen25: Tokenizer) -> None:
    """Every case with its tokens cut at every character, and byte by byte; streamed; cut off and kept."""
    cases, callers = [], []
    for text, stops, shown, matched in TABLE:
        assert naive(text, stops) == (shown, matched)
        if not text:
            continue
        for keep in (False, True):
            for ids in splits(qwen25, text):
                cases.append((text, stops, shown + (matched or "") if keep else shown, matched))
                inputs = {"input_ids": ids, "stop_words": list(stops), "max_tokens": len(ids), "stream": True}
                callers.append(Grpc(server, BLS, {**inputs, "include_stop_str_in_output": keep, "ignore_eos": True}))
    assert len(callers) > 250
    for case, received in zip(cases, together(callers), strict=True):
        _, _, shown, matched = case
        reason = "null" if matched is None else f'"{_json(matched)}"'
        assert (received.text, received.outputs["stop_reason"].decode()) == (shown, reason), case
        assert received.finish == ("length" if matched is None else "stop")


def _json(text: str) -> str:
    return text.replace("\n", "\\n")


AS_TEXT = [case[:3] for case in TABLE if case[0] and "<|" not in case[0] and "\u0301" not in case[0]]
"""Without what a prompt's text cannot spell: a control token's name, an accent that the tokenizer composes."""


@both_models
@pytest.mark.parametrize(("text", "stops", "shown"), AS_TEXT)
def test_the_reference_table_through_generate(
    server: LiveServer, model: str, text: str, stops: tuple[str, ...], shown: str
) -> None:
    """The ensemble gives the same text and finish; which string it was is the BLS's to say."""
    answer = generate(server, model, text_input=text, stop_words=list(stops), max_tokens=100)
    assert (answer["text_output"], answer["finish_reason"]) == (shown, "stop")


@both_models
def test_several_stop_strings_and_the_earliest_wins(server: LiveServer, model: str) -> None:
    events = generate_stream(server, model, text_input="a b c d", stop_words=["d", " c", "zzz", "c d"])
    assert "".join(event["text_output"] for event in events) == "a b"


@both_models
@pytest.mark.parametrize("end", [IM_END, ENDOFTEXT])
def test_both_of_qwens_end_ids_end_an_answer(server: LiveServer, model: str, end: int) -> None:
    """The second is stock's fault: its end_id is the tokenizer's only one."""
    name = {IM_END: "<|im_end|>", ENDOFTEXT: "<|endoftext|>"}[end]
    answer = generate(server, model, text_input=f"hello{name} and on", max_tokens=20)
    assert (answer["text_output"], answer["finish_reason"]) == ("hello", "stop")
    assert answer["num_output_tokens"] == 2


@both_models
def test_ignore_eos_goes_on(server: LiveServer, model: str) -> None:
    answer = generate(server, model, text_input="hello<|im_end|> and on", max_tokens=5, ignore_eos=True)
    assert (answer["text_output"], answer["finish_reason"]) == ("hello and onhello", "length")


@both_models
def test_stop_token_ids(server: LiveServer, model: str, qwen25: Tokenizer) -> None:
    """The id's text is left out, it is counted, and the BLS names it."""
    hello, there, *_ = qwen25.encode("hello there you")
    answer = generate(server, model, text_input="hello there you", stop_token_ids=[there], max_tokens=9)
    assert (answer["text_output"], answer["finish_reason"], answer["num_output_tokens"]) == ("hello", "stop", 2)
    if model == BLS:
        assert answer["stop_reason"] == str(there)
    assert hello != there


@both_models
def test_min_tokens_holds_off_a_stop_string(server: LiveServer, model: str) -> None:
    sent: dict[str, Any] = {"text_input": " a a a a a", "stop_words": [" a"], "max_tokens": 9}
    answer = generate(server, model, **sent, min_tokens=3)
    assert (answer["text_output"], answer["num_output_tokens"]) == (" a a", 3)


def test_an_empty_stop_string_is_stocks_way_to_say_none(server: LiveServer) -> None:
    assert generate(server, BLS, text_input="hello", stop_words="", max_tokens=9)["text_output"] == "hello"


@both_models
def test_a_stop_token_id_outside_the_vocabulary_is_refused(server: LiveServer, model: str) -> None:
    with pytest.raises(Refused, match="stop_token_ids: token id 999999 is not in"):
        generate(server, model, text_input="hello", stop_token_ids=[999999])
