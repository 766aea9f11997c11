"""What engines make of a form: the grammar for those that keep one, a refusal that says why for the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qwen_triton.chat.forms.compile import FormBounds
from qwen_triton.engines.capabilities import FormGrammars
from qwen_triton.engines.engine import EngineInfo
from qwen_triton.engines.replay.engine import ReplayEngine
from qwen_triton.engines.replay.options import ReplayOptions
from qwen_triton.errors import InvalidRequest
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import EngineRequest, Form, SamplingParams

YES = Form("choice", '["yes"]')
REQUEST = EngineRequest((1, 2), SamplingParams(max_tokens=9), end_ids=(151_645,))


def grammar(tokenizer: Tokenizer, request: EngineRequest, info: EngineInfo) -> str:
    return FormGrammars(tokenizer, FormBounds()).grammar(YES, request, info)


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ("replay", "a script has the same answer whatever is asked; engine.forms: play"),
        ("tensorrtllm", "needs TensorRT-LLM 0.19 or newer, and engine.guided_decoding_backend: xgrammar"),
        ("llmapi", "needs engine.guided_decoding_backend: xgrammar in the deployment"),
        ("openvino", "this model's folder has no vocabulary for it"), ("vllm", "started without a tokenizer"),
    ],
)  # fmt: skip
def test_an_engine_that_keeps_no_form_refuses_it_with_the_reason(qwen3: Tokenizer, engine: str, reason: str) -> None:
    with pytest.raises(
        InvalidRequest, match=f"guided_decoding_guide: the {engine} engine keeps no form here: .*{reason}"
    ):
        grammar(qwen3, REQUEST, EngineInfo(engine, 100, 100))


def test_the_replay_engine_plays_where_it_is_told_to(qwen3: Tokenizer) -> None:
    assert ReplayEngine(ReplayOptions()).info.forms == ""
    info = ReplayEngine(ReplayOptions(forms="play")).info
    assert grammar(qwen3, REQUEST, info) == 'root ::= "yes"\n'


@pytest.mark.parametrize(
    ("turn", "begins"),
    [("<|im_start|>assistant\n", "may"), ("<|im_start|>assistant\n<think>\n", "open"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", "none"), ("yes or no: ", "none")],
)  # fmt: skip
def test_a_form_begins_behind_the_thinking(qwen3: Tokenizer, turn: str, begins: str) -> None:
    """As the prompt's last turn has it; a raw prompt has none."""
    request = replace(REQUEST, token_ids=tuple(qwen3.encode(turn, control_tokens=True)))
    found = grammar(qwen3, request, EngineInfo("vllm", 100, 100, forms="text"))
    assert ('"<think>"' in found, '"</think>"' in found) == {
        "may": (True, True),
        "open": (False, True),
        "none": (False, False),
    }[begins]


def test_marks_are_for_engines_whose_vocabulary_has_them(qwen3: Tokenizer) -> None:
    request = replace(REQUEST, token_ids=tuple(qwen3.encode("<|im_start|>assistant\n<think>\n", control_tokens=True)))
    assert "</think>" not in grammar(qwen3, request, EngineInfo("openvino", 100, 100, forms="marks"))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (replace(REQUEST, end_ids=()), "guided_decoding_guide"),
        (replace(REQUEST, sampling=SamplingParams(min_tokens=3)), "min_tokens"),
        (replace(REQUEST, sampling=SamplingParams(beam_width=2)), "beam_width"),
    ],
)
def test_what_would_keep_an_answer_from_its_end_is_refused(
    qwen3: Tokenizer, request_: EngineRequest, field: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        grammar(qwen3, request_, EngineInfo("vllm", 100, 100, forms="text"))
    assert refusal.value.field == field
