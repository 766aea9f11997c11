"""Forms kept by openvino-genai, by the vocabulary that is written from tokenizer.json: on the demo, at temperature 1."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from qwen_triton.chat.forms.compile import FormBounds
from qwen_triton.engines.capabilities import FormGrammars
from qwen_triton.engines.openvino.grammars.vocabulary import ensure_vocabulary, has_vocabulary, token_texts
from qwen_triton.types import EngineRequest, Form, SamplingParams
from tests.support.folders import ROOT
from tests.support.form_answers import FormEngine, fault_of, without_thinking
from tests.support.form_schemas import SCHEMAS

DEMO = ROOT / "demo" / "checkpoint"
QUESTION = "Answer in JSON. name Anna, age 31, city Paris"
ENDING = [
    "integer", "boolean", "null", "types", "any object", "person", "one property", "all optional", "some optional",
    "optional at the ends", "five deep", "array of two", "no items", "unique items", "enum", "enum of kinds", "Chinese enum",
    "Chinese keys", "const", "reference", "definitions", "reference with keywords", "any of beside keywords", "one of by const",
    "all of", "map of one or two", "map by pattern", "minimum", "range", "exclusive range", "negative range", "share",
    "decimal range", "multiple", "even", "half steps", "short text", "text of three", "pattern", "pattern with a length",
    "Chinese pattern", "date", "date-time", "time", "uuid", "ipv4", "annotations", "no type", "false property",
]  # fmt: skip
"""Schemas whose answers the demo ends at every seed tried; the others leave a text open, at which a small model may go on."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> FormEngine:
    return FormEngine(DEMO, tmp_path_factory.mktemp("conversions"))


@pytest.mark.parametrize("name", ENDING)
def test_every_answer_is_an_instance(engine: FormEngine, name: str) -> None:
    """More seeds and all schemas: python -m tests.tools.form_table."""
    answers = engine.answers(Form("json_schema", json.dumps(SCHEMAS[name])), QUESTION, range(2))
    assert [(finish, fault_of(text, SCHEMAS[name])) for text, finish in answers] == [("stop", "")] * 2


def test_thinking_comes_first(engine: FormEngine) -> None:
    """The demo thinks before it answers, and its tags are tokens, which no string may have."""
    for text, _ in engine.answers(Form("json_schema", json.dumps(SCHEMAS["person"])), QUESTION, range(4)):
        assert re.fullmatch(r"<think>[^<]*</think>\n*\{[^<]*\}", text)


def test_other_kinds(engine: FormEngine) -> None:
    for form, pattern in (
        (Form("regex", "[a-c]{3}x"), "[a-c]{3}x"),
        (Form("choice", '["yes", "不"]'), "yes|不"),
        (Form("grammar", 'root ::= "你" ("好" | "们") [!?]'), "你[好们][!?]"),
    ):
        for text, finish in engine.answers(form, "hi", range(3)):
            assert finish == "stop"
            assert re.fullmatch(pattern, without_thinking(text).lstrip("\n"))


def test_an_answer_may_be_cut(engine: FormEngine) -> None:
    """By its length, as without a form."""
    ((text, finish),) = engine.answers(Form("json_object"), QUESTION, (1,), max_tokens=3)
    assert (finish, text.startswith("<think>")) == ("length", True)


def test_the_vocabulary_is_written_once_and_anew_for_another_tokenizer(tmp_path: Path) -> None:
    checkpoint, folder = tmp_path / "checkpoint", tmp_path / "converted"
    checkpoint.mkdir()
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (checkpoint / name).write_bytes((DEMO / name).read_bytes())
    ensure_vocabulary(checkpoint, folder, 4032)
    assert has_vocabulary(folder)
    written = (folder / "openvino_detokenizer.bin").stat().st_mtime_ns
    ensure_vocabulary(checkpoint, folder, 4032)
    assert (folder / "openvino_detokenizer.bin").stat().st_mtime_ns == written
    (checkpoint / "tokenizer.json").write_bytes((DEMO / "tokenizer.json").read_bytes() + b"\n")
    ensure_vocabulary(checkpoint, folder, 4032)
    assert (folder / "openvino_detokenizer.bin").stat().st_mtime_ns > written


def test_a_checkpoint_without_a_tokenizer_has_no_vocabulary(tmp_path: Path) -> None:
    ensure_vocabulary(tmp_path, tmp_path, 512)
    assert not has_vocabulary(tmp_path)


def test_control_tokens_have_no_text_and_tags_a_mark(engine: FormEngine) -> None:
    texts = token_texts(engine.tokenizer, 4032)
    special, thinking = engine.tokenizer.special_tokens["<|im_end|>"], engine.tokenizer.encode("<think>")[0]
    assert (texts[special], texts[4031]) == (b"", b"")
    assert len(texts[thinking].decode()) == 1
    assert ord(texts[thinking].decode()) > 0x10EFFF


def test_running_sequences_go_on_while_a_grammar_is_compiled(engine: FormEngine) -> None:
    """A grammar that takes long joins later; one that is known joins at once."""
    prompt = tuple(engine.tokenizer.encode("hi"))
    free = EngineRequest(prompt, SamplingParams(max_tokens=60))
    slow = Form("regex", "(?:[a-z]{1,60} ?){1,4}")
    kept = replace(free, end_ids=engine.tokenizer.end_ids)
    kept = replace(kept, grammar=FormGrammars(engine.tokenizer, FormBounds()).grammar(slow, kept, engine.engine.info))
    engine.engine.add(1_000_001, kept)
    engine.engine.add(1_000_002, free)
    assert engine.engine.waits(1_000_001)
    order = [key for key in iter(lambda: first_of(engine), None) if key is not None]
    assert order[0] == 1_000_002
    assert set(order) == {1_000_001, 1_000_002}


def first_of(engine: FormEngine) -> int | None:
    """The key of the next chunk, None when nothing is left."""
    while engine.engine.wait_s() is not None:
        for key, _ in engine.engine.step():
            return key
    return None
