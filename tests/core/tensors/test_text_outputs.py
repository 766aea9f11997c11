"""Text outputs: clients read what the text model writes, and what stock's models write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_triton.chat.reader import opens_thinking
from qwen_triton.serving.answer import ChoiceIndex, SequenceAnswer
from qwen_triton.serving.text_answer import TextEncoder
from qwen_triton.tensors.arrays import encode_raw
from qwen_triton.tensors.contract import ANSWER_IDS, BLS_OUTPUTS, PROMPT_IDS, TOOL_FORMAT
from qwen_triton.tensors.text_outputs import (
    LOGPROBS,
    PROMPT_LOGPROBS,
    TEXT_OUTPUTS,
    TextPiece,
    decode_text_body,
    decode_text_outputs,
    encode_text_piece,
    encode_text_whole,
    merge_pieces,
    wanted_text_outputs,
)
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import (
    EngineRequest,
    FinishReason,
    GenerateRequest,
    PromptLogProbs,
    SamplingParams,
    StopConditions,
    TextChunk,
    TokenChunk,
    Usage,
)

USAGE = Usage(7, 3, 2)


def raw(arrays: Mapping[str, Any]) -> dict[str, bytes]:
    """Arrays as Triton hands them out."""
    wanted = (*TEXT_OUTPUTS, TOOL_FORMAT, LOGPROBS, PROMPT_LOGPROBS, PROMPT_IDS, ANSWER_IDS)
    return {name: encode_raw(array) for name, array in arrays.items() if name in wanted}


def encoder(qwen3: Tokenizer, prompt_ids: tuple[int, ...] = (9707,), **more: Any) -> TextEncoder:
    request = GenerateRequest(messages=({"role": "user", "content": "x"},), **more)
    found = TextEncoder([request], qwen3, skip_special_tokens=True, echo=False)
    found.open(0, EngineRequest(prompt_ids, request.sampling), 0)
    return found


def test_the_shim_asks_only_for_what_the_model_has() -> None:
    """An output that no config declares would fail every request."""
    assert {*TEXT_OUTPUTS, TOOL_FORMAT, LOGPROBS} <= {t.name for t in BLS_OUTPUTS}


def test_a_streamed_piece(qwen3: Tokenizer) -> None:
    """Most pieces have nothing but a text that a client asks for who has one sequence; its place is there for others."""
    found = raw(encoder(qwen3).piece(TextChunk("你好"), ChoiceIndex(0, 0, True, False)))
    assert list(found) == ["text_output", "sequence_index"]
    assert [name for name in found if name in wanted_text_outputs(GenerateRequest(prompt="x"))] == ["text_output"]
    assert "sequence_index" in wanted_text_outputs(GenerateRequest(prompt="x", sampling=SamplingParams(n=2)))
    assert decode_text_outputs(found) == [TextPiece("你好")]


def test_a_last_piece(qwen3: Tokenizer) -> None:
    """How it ended and what it cost."""
    chunk = TextChunk("x", finish="stop", stop_reason="###", usage=USAGE)
    found = decode_text_outputs(raw(encoder(qwen3).piece(chunk, ChoiceIndex(0, 3, False, False))))
    assert found == [TextPiece("x", 3, "stop", "###", USAGE)]


def test_pieces_with_counts(qwen3: Tokenizer) -> None:
    """Those up to here, where the request asks for them."""
    request = GenerateRequest(prompt="x", stream=True, count_pieces=True)
    counting = TextEncoder([request], qwen3, skip_special_tokens=True, echo=False)
    stream = counting.open(0, EngineRequest((1, 2, 3), request.sampling), 0)
    piece = stream.feed(TokenChunk((9707, 1879)))
    assert piece is not None
    assert decode_text_outputs(raw(counting.piece(piece, ChoiceIndex(0, 0, True, True)))) == [
        TextPiece("Hello world", usage=Usage(3, 2))
    ]


def test_counts_with_the_first_piece(qwen3: Tokenizer) -> None:
    """Where the request asks for them there; the next piece has none."""
    request = GenerateRequest(prompt="x", stream=True, count_first=True)
    counting = TextEncoder([request], qwen3, skip_special_tokens=True, echo=False)
    stream = counting.open(0, EngineRequest((1, 2, 3), request.sampling), 0)
    found = []
    for first in (True, False):
        piece = stream.feed(TokenChunk((9707, 1879), cached_tokens=2))
        assert piece is not None
        found += decode_text_outputs(raw(counting.piece(piece, ChoiceIndex(0, 0, True, first))))
    assert found == [TextPiece("Hello world", usage=Usage(3, 2, 2)), TextPiece("Hello world")]


def test_whole_answers(qwen3: Tokenizer) -> None:
    """All sequences of a prompt in one response, with log probs."""
    rows = {0: [SequenceAnswer(0), SequenceAnswer(1)]}
    rows[0][0].add(TextChunk("a", (64,), (-0.5,), (((64, -0.5), (65, -1.5)),), "length", None, USAGE))
    rows[0][1].add(TextChunk("b", (65,), (-0.7,), (), "stop", 65, USAGE, 1))
    whole = encoder(qwen3, sampling=SamplingParams(logprobs=1, n=2)).whole(rows)
    first, second = decode_text_outputs(raw(whole))
    assert (first.sequence, first.text, first.finish, first.usage) == (0, "a", "length", USAGE)
    assert (second.sequence, second.text, second.finish, second.stop_reason) == (1, "b", "stop", 65)
    assert first.logprobs == [
        {"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": [
            {"token": "a", "bytes": [97], "logprob": -0.5}, {"token": "b", "bytes": [98], "logprob": -1.5}]}
    ]  # fmt: skip


@pytest.mark.parametrize("streamed", [True, False])
def test_token_ids(qwen3: Tokenizer, streamed: bool) -> None:
    """Of the prompt with the first piece of its first sequence, of the answer with each; only where they are asked for."""
    found = encoder(qwen3, (5, 6), return_token_ids=True, stream=streamed)
    parts = [TextChunk("ab", (64, 65)), TextChunk("c", (66,), finish="stop", usage=USAGE)]
    answer = SequenceAnswer(0)
    for part in parts:
        answer.add(part)
    if streamed:
        first, second = (
            decode_text_outputs(raw(found.piece(part, ChoiceIndex(0, 0, True, not n))))[0]
            for n, part in enumerate(parts)
        )
        assert (first.prompt_ids, first.token_ids, second.prompt_ids, second.token_ids) == (
            [5, 6],
            [64, 65],
            None,
            [66],
        )
        [merged] = merge_pieces([first, second])
    else:
        [merged] = decode_text_outputs(raw(found.whole({0: [answer]})))
    assert (merged.text, merged.prompt_ids, merged.token_ids) == ("abc", [5, 6], [64, 65, 66])
    asked = GenerateRequest(prompt="x", return_token_ids=True)
    assert {"prompt_ids", "answer_ids"} <= {*wanted_text_outputs(asked)}
    [plain] = decode_text_outputs(raw(encoder(qwen3).whole({0: [answer]})))
    assert (plain.prompt_ids, plain.token_ids) == (None, None)


@pytest.mark.parametrize("streamed", [True, False])
def test_log_probs_of_a_prompt(qwen3: Tokenizer, streamed: bool) -> None:
    """With ids, the first token's null; JSON has no infinity. A client asks for them by their own parameter."""
    ids = tuple(qwen3.encode("Hello world"))
    sampling = SamplingParams(prompt_logprobs=1)
    found = encoder(qwen3, ids, sampling=sampling, stream=streamed)
    found.add_prompt(0, EngineRequest(ids, sampling), PromptLogProbs([float("-inf")], [[(64, -0.5)]]))
    answer = SequenceAnswer(0)
    answer.add(TextChunk("x", finish="stop", usage=USAGE))
    arrays = found.piece(TextChunk("x"), ChoiceIndex(0, 0, True, True)) if streamed else found.whole({0: [answer]})
    assert arrays["prompt_log_probs"].tolist() == [[0.0, float("-inf")]]
    assert arrays["prompt_logprobs"].shape == (1, 1)
    assert decode_text_outputs(raw(arrays))[0].prompt_logprobs == [
        {"id": ids[0], "token": "Hello", "bytes": [*b"Hello"], "logprob": None, "top_logprobs": []},
        {"id": ids[1], "token": " world", "bytes": [*b" world"], "logprob": -9999.0, "top_logprobs": [
            {"id": 64, "token": "a", "bytes": [97], "logprob": -0.5}]},
    ]  # fmt: skip
    assert "prompt_logprobs" in wanted_text_outputs(GenerateRequest(prompt="x", sampling=sampling))
    without = GenerateRequest(prompt="x", sampling=SamplingParams(logprobs=1))
    assert "prompt_logprobs" not in wanted_text_outputs(without)


def test_pieces_that_piled_up_become_one_for_each_sequence() -> None:
    """Nothing of them is lost: text and log probs in order, the first's thinking, the last's end and counts."""
    a, b = {"token": "a"}, {"token": "b"}
    piled = [
        TextPiece(
            "he", 0, usage=Usage(7, 1), reasoning_opened=True, logprobs=[a], prompt_logprobs=[b], tool_format="hermes"
        ),
        TextPiece("x", 1),
        TextPiece("l", 0, usage=Usage(7, 2, 4), logprobs=[b]),
        TextPiece("lo", 0, "stop", "###"),
        TextPiece("", 1, "length", None, Usage(7, 9, 4)),
    ]
    assert merge_pieces(piled) == [
        TextPiece("hello", 0, "stop", "###", Usage(7, 2, 4), [a, b], True, 3, [b], tool_format="hermes"),
        TextPiece("x", 1, "length", None, Usage(7, 9, 4), None, False, 2),
    ]
    assert merge_pieces(piled[:2]) == piled[:2]


TEXTS = st.text(max_size=20)
COUNTS = st.builds(Usage, *[st.integers(0, 2**31 - 1)] * 3)
CONTENT = st.lists(st.fixed_dictionaries({"token": TEXTS, "logprob": st.floats(-99, 0)}), max_size=3)
ENDS = st.sampled_from(["stop", "length", "cancelled", "error"])
REASONS = st.none() | st.integers(0, 2**31 - 1) | TEXTS


@given(TEXTS, st.integers(0, 127), st.none() | COUNTS, st.none() | CONTENT, st.booleans())
def test_a_streamed_piece_is_read_as_it_was_written(
    text: str, sequence: int, usage: Usage | None, logprobs: list[dict[str, Any]] | None, opened: bool
) -> None:
    """Counts in mid-stream too: a client may ask for them with each piece."""
    arrays = encode_text_piece(TextChunk(text), (0, sequence), usage=usage, logprobs=logprobs, reasoning_opened=opened)
    assert decode_text_outputs(raw(arrays)) == [TextPiece(text, sequence, None, None, usage, logprobs, opened)]


@given(TEXTS, st.integers(0, 127), ENDS, REASONS, COUNTS, st.none() | CONTENT)
def test_a_last_piece_is_read_as_it_was_written(
    text: str,
    sequence: int,
    finish: FinishReason,
    reason: str | int | None,
    usage: Usage,
    logprobs: list[dict[str, Any]] | None,
) -> None:
    """With its end and its counts."""
    chunk = TextChunk(text, finish=finish, stop_reason=reason, usage=usage)
    arrays = encode_text_piece(chunk, (0, sequence), logprobs=logprobs)
    assert decode_text_outputs(raw(arrays)) == [TextPiece(text, sequence, finish, reason, usage, logprobs)]


@given(st.lists(st.tuples(TEXTS, ENDS, REASONS, COUNTS, CONTENT), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_whole_answers_are_read_as_they_were_written(
    sequences: list[tuple[str, FinishReason, Any, Usage, list[dict[str, Any]]]], told: bool, opened: bool
) -> None:
    """From raw tensors and from the JSON of the generate endpoints. Sequences share their prompt and its counts."""
    _, _, _, prompt, _ = sequences[0]
    counts = [Usage(prompt.prompt_tokens, u.completion_tokens, prompt.cached_tokens) for _, _, _, u, _ in sequences]
    chunks = [
        TextChunk(text, finish=finish, stop_reason=reason, usage=usage)
        for (text, finish, reason, _, _), usage in zip(sequences, counts, strict=True)
    ]
    content = [logprobs for *_, logprobs in sequences]
    arrays = encode_text_whole([chunks], [(0, 0)], [opened], [content] if told else None)
    expected = [
        TextPiece(c.text, n, c.finish, c.stop_reason, c.usage, content[n] if told else None, opened)
        for n, c in enumerate(chunks)
    ]
    assert decode_text_outputs(raw(arrays)) == expected
    flat = {n: [v.decode() if isinstance(v, bytes) else v for v in a.reshape(-1).tolist()] for n, a in arrays.items()}
    body = {name: values[0] if len(values) == 1 else values for name, values in flat.items()}
    assert decode_text_body({"model_name": "m", "model_version": "1"} | body) == expected


def test_a_body_of_text_alone_is_one_piece() -> None:
    """Most events of a stream; one without text is no piece."""
    assert decode_text_body({"model_name": "m", "text_output": "hi"}) == [TextPiece("hi")]
    assert decode_text_body({"model_name": "m", "finish_reason": "stop"}) == []


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<think>x<|im_start|>assistant\n", False),
        ("no chat at all", False),
        ("<think>", True),
    ],
)
def test_whether_a_prompt_leaves_thinking_open(qwen3: Tokenizer, prompt: str, opened: bool) -> None:
    """Told with the first piece, and with a whole answer."""
    ids = tuple(qwen3.encode(prompt, control_tokens=True))
    assert opens_thinking(ids, qwen3) is opened
    first = raw(encoder(qwen3, ids).piece(TextChunk("x"), ChoiceIndex(0, 0, True, True)))
    assert decode_text_outputs(first)[0].reasoning_opened is opened
    later = raw(encoder(qwen3, ids).piece(TextChunk("x"), ChoiceIndex(0, 0, True, False)))
    assert decode_text_outputs(later)[0].reasoning_opened is False
    answer = SequenceAnswer(0)
    answer.add(TextChunk("x", finish="stop", usage=USAGE))
    assert decode_text_outputs(raw(encoder(qwen3, ids).whole({0: [answer]})))[0].reasoning_opened is opened


@pytest.mark.parametrize(
    ("more", "told"),
    [({"tools": ({"name": "f"},)}, "qwen3_coder"), ({}, ""), ({"tools": ()}, "")],
)
def test_a_chat_with_tools_is_told_the_format_of_its_calls(qwen3: Tokenizer, more: dict[str, Any], told: str) -> None:
    """With the first piece, and with a whole answer; clients ask for the output only then."""
    request = GenerateRequest(messages=({"role": "user", "content": "x"},), **more)
    found = TextEncoder([request], qwen3, skip_special_tokens=True, echo=False, tool_format="qwen3_coder")
    found.open(0, EngineRequest((1,), request.sampling), 0)
    first, later = (raw(found.piece(TextChunk("x"), ChoiceIndex(0, 0, True, is_first))) for is_first in (True, False))
    assert decode_text_outputs(first)[0].tool_format == told
    assert decode_text_outputs(later)[0].tool_format == ""
    answer = SequenceAnswer(0)
    answer.add(TextChunk("x", finish="stop", usage=USAGE))
    whole = decode_text_outputs(raw(found.whole({0: [answer]})))
    assert whole[0].tool_format == told
    assert merge_pieces([*decode_text_outputs(first), *decode_text_outputs(later)])[0].tool_format == told
    assert (TOOL_FORMAT in wanted_text_outputs(request)) is bool(told)


def test_a_tokenizer_without_thinking_opens_none(qwen25: Tokenizer) -> None:
    """Qwen2.5 has no such token; the text is a text there."""
    assert (
        opens_thinking(tuple(qwen25.encode("<|im_start|>assistant\n<think>\n", control_tokens=True)), qwen25) is False
    )


def test_the_shapes_are_stock_s() -> None:
    """Texts in one dimension, row after row; indexes [rows, 1]; all else [rows, n]."""
    end = TextChunk("x", finish="stop", usage=USAGE)
    whole = encode_text_whole([[end, end], [end, end]], [(3, 0), (5, 0)], [False, False], [[[], []], [[], []]])
    shapes = {name: array.shape for name, array in whole.items()}
    assert shapes["text_output"] == (4,)
    assert shapes["batch_index"] == shapes["sequence_index"] == shapes["num_input_tokens"] == (2, 1)
    assert shapes["finish_reason"] == shapes["cum_log_probs"] == shapes["logprobs"] == (2, 2)
    assert whole["batch_index"].tolist() == [[3], [5]]
    piece = encode_text_piece(end, (3, 1), logprobs=[])
    assert piece["text_output"].shape == (1,)
    assert piece["batch_index"].tolist() == [[3]]
    assert piece["sequence_index"].tolist() == [[1]]
    assert piece["finish_reason"].shape == (1, 1)


def metrics(number: int) -> dict[str, bytes]:
    return {"total_draft_tokens": number.to_bytes(4, "little"), "arrival_time_ns": (number << 40).to_bytes(8, "little")}


def test_the_engine_s_metrics_come_with_the_end(qwen3: Tokenizer) -> None:
    """The latest that it gave, also where a stop string ends the answer and the engine says nothing more."""
    request = GenerateRequest(prompt="x", stop=StopConditions(("world",)), stream=True, perf_metrics=True)
    measuring = TextEncoder([request], qwen3, skip_special_tokens=True, echo=False)
    stream = measuring.open(0, EngineRequest((1, 2, 3), request.sampling), 0)
    pieces = [stream.feed(TokenChunk((token,), metrics=metrics(n))) for n, token in enumerate((9707, 1879), 1)]
    assert stream.done
    found = [measuring.piece(piece, ChoiceIndex(0, 0, True, n == 0)) for n, piece in enumerate(filter(None, pieces))]
    assert [name for arrays in found[:-1] for name in metrics(1) if name in arrays] == []
    assert found[-1]["total_draft_tokens"].tolist() == [[2]]
    assert (found[-1]["arrival_time_ns"].dtype, found[-1]["arrival_time_ns"].tolist()) == ("int64", [[2 << 40]])


def test_metrics_of_a_whole_response(qwen3: Tokenizer) -> None:
    """One value for each sequence in the engine, of which a beam search is one; none unless all have them."""

    def whole(sampling: SamplingParams, *numbers: int | None) -> Any:
        request = GenerateRequest(prompt="x", sampling=sampling, perf_metrics=True)
        measuring = TextEncoder([request], qwen3, skip_special_tokens=True, echo=False)
        answers = [SequenceAnswer(n) for n in range(len(numbers))]
        for answer, number in zip(answers, numbers, strict=True):
            measuring.open(0, EngineRequest((1, 2, 3), sampling), answer.sequence)
            found = None if number is None else metrics(number)
            answer.add(TextChunk("a", (64,), finish="length", usage=USAGE, metrics=found))
        array = measuring.whole({0: answers}).get("total_draft_tokens")
        return None if array is None else array.tolist()

    assert whole(SamplingParams(), 4) == [[4]]
    assert whole(SamplingParams(n=2), 4, 5) == [[4, 5]]
    assert whole(SamplingParams(n=2, beam_width=2), 4, 4) == [[4]]
    assert whole(SamplingParams(n=2), 4, None) is None
