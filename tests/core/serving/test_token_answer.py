"""Stop words of the engine model: ids become what the text is scanned for, control tokens become ids."""

from __future__ import annotations

import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.serving.answer import ChoiceIndex, SequenceAnswer
from qwen_triton.serving.token_answer import TokenEncoder, resolve_stops
from qwen_triton.tensors.engine_inputs import EngineRow
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import EngineRequest, PromptLogProbs, SamplingParams, StopConditions, TextChunk

IM_END = 151645


def row(
    words: tuple[tuple[int, ...], ...] = (), strings: tuple[str, ...] = (), for_text: bool = False, pad_id: int = 0
) -> EngineRow:
    """What the decoder makes of `stop_words_list` and `stop_words`."""
    single = tuple(word[0] for word in words if len(word) == 1)
    several = tuple(word for word in words if len(word) > 1)
    sampling = SamplingParams(max_tokens=9, seed=1)
    request = EngineRequest((1,), sampling, pad_id=pad_id, stop_token_ids=single, stop_sequences=several)
    return EngineRow(request, StopConditions(strings, single), for_text, echo=False)


def test_a_word_of_several_ids_is_a_string(qwen25: Tokenizer) -> None:
    found = resolve_stops(row((tuple(qwen25.encode("two words")), (7,))), qwen25)
    assert found.stop == StopConditions(("two words",), (7,))
    assert found.request.stop_token_ids == (7,)


def test_a_string_that_is_a_control_token_is_an_id(qwen25: Tokenizer) -> None:
    """For the engine and for the text, once, also where the list of ids has it already, as preprocessing sends it."""
    for words in ((), ((IM_END,),)):
        found = resolve_stops(row(words, ("<|im_end|>",), for_text=True), qwen25)
        assert found.stop == StopConditions(("<|im_end|>",), (IM_END,))
        assert found.request.stop_token_ids == (IM_END,)


@pytest.mark.parametrize(
    ("given", "field"),
    [(row(((9, IM_END),)), "stop_words_list"), (row((), ("a<|im_end|>",), for_text=True), "stop_words")],
    ids=["ids", "text"],
)
def test_a_word_with_a_control_token_inside_is_refused(qwen25: Tokenizer, given: EngineRow, field: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"^{field}: has <\|im_end\|> beside other text"):
        resolve_stops(given, qwen25)


@pytest.mark.parametrize(
    ("given", "field"), [(row(((9, 8),)), "stop_words_list"), (row((), ("a",), for_text=True), "stop_words")]
)
def test_without_a_tokenizer_only_single_ids_are_taken(given: EngineRow, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: words of several tokens need tokenizer_dir"):
        resolve_stops(given, None)
    assert resolve_stops(row(((9,),)), None) == row(((9,),))


def test_a_piece_says_its_place_where_its_caller_reads_ids() -> None:
    """An ensemble asks for all outputs whatever its caller wants, so there a place that goes without saying is left out."""
    places = {
        for_text: TokenEncoder([row(for_text=for_text)], None).piece(
            TextChunk("", (5,)), ChoiceIndex(0, 0, only=True, first=True)
        )
        for for_text in (False, True)
    }
    assert places[False]["batch_index"].tolist() == places[False]["sequence_index"].tolist() == [[0]]
    assert "batch_index" not in places[True]
    among_others = TokenEncoder([row(for_text=True)], None).piece(
        TextChunk("", (5,)), ChoiceIndex(0, 1, only=False, first=True)
    )
    assert among_others["sequence_index"].tolist() == [[1]]


def scored(logprobs: int | None) -> EngineRow:
    request = EngineRequest((1, 2), SamplingParams(max_tokens=9, seed=1, logprobs=logprobs, prompt_logprobs=1, n=2))
    return EngineRow(request, StopConditions(), for_text=False, echo=False)


PROMPT = PromptLogProbs([-0.5], [[(2, -0.5)]])


def test_log_probs_of_a_prompt_are_in_the_first_piece_of_its_first_sequence() -> None:
    encoder = TokenEncoder([scored(None)], None)
    encoder.add_prompt(0, scored(None).request, PROMPT)
    pieces = [
        encoder.piece(TextChunk("", (5,)), ChoiceIndex(0, sequence, only=False, first=first))
        for sequence, first in ((1, True), (0, True), (0, False))
    ]
    assert ["prompt_log_probs" in piece for piece in pieces] == [False, True, False]
    assert pieces[1]["prompt_log_probs"].tolist() == [[0.0, -0.5]]
    assert pieces[1]["prompt_top_token_ids"].tolist() == [[[-1], [2]]]
    assert "output_top_token_ids" not in pieces[1]


def test_the_likeliest_tokens_are_sent_where_they_are_asked_for() -> None:
    encoder = TokenEncoder([scored(1)], None)
    piece = encoder.piece(TextChunk("", (5,), [-0.5], [[(5, -0.5)]]), ChoiceIndex(0, 0, only=True, first=True))
    assert piece["output_top_token_ids"].tolist() == [[[[5]]]]
    assert piece["output_top_log_probs"].tolist() == [[[[-0.5]]]]


def test_a_whole_answer_has_them_where_it_has_the_first_sequence() -> None:
    encoder = TokenEncoder([scored(1), scored(1)], None)
    encoder.add_prompt(1, scored(1).request, PROMPT)
    answers = [SequenceAnswer(n, token_ids=[5], log_probs=[-0.5], top_log_probs=[[(5, -0.5)]]) for n in (0, 1)]
    assert encoder.whole({0: answers, 1: answers})["prompt_log_probs"].tolist() == [[0.0, 0.0], [0.0, -0.5]]
    assert "prompt_log_probs" not in encoder.whole({1: answers[1:]})
    assert encoder.whole({1: answers[1:]})["output_top_token_ids"].tolist() == [[[[5]]]]
