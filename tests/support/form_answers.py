"""Answers of a form, from the openvino engine alone or from a server: texts for a question and seeds, and what a validator
says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
from openai import OpenAI

from qwen_triton.chat.forms.compile import FormBounds
from qwen_triton.engines.capabilities import FormGrammars
from qwen_triton.engines.openvino.engine import OpenVinoEngine
from qwen_triton.engines.openvino.options import OpenVinoOptions
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import EngineRequest, FinishReason, Form, SamplingParams

_TURN = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


class FormEngine:
    """The openvino engine with a checkpoint's tokenizer; all sequences of a call run at once."""

    def __init__(self, checkpoint: Path, cache: Path | None = None) -> None:
        self.tokenizer = Tokenizer.from_folder(checkpoint)
        conversions = None if cache is None else str(cache)
        self.engine = OpenVinoEngine(
            OpenVinoOptions(model=str(checkpoint), cache_gib=0.5, conversion_cache=conversions)
        )
        self._forms = FormGrammars(self.tokenizer, FormBounds())
        self._key = 0

    def answers(
        self, form: Form, question: str, seeds: Sequence[int], max_tokens: int = 1500
    ) -> list[tuple[str, FinishReason | None]]:
        """(text, finish) for each seed, at temperature 1."""
        prompt = tuple(self.tokenizer.encode(_TURN.format(question), control_tokens=True))
        ids: dict[int, list[int]] = {}
        finish: dict[int, FinishReason | None] = {}
        for seed in seeds:
            sampling = SamplingParams(max_tokens=max_tokens, temperature=1.0, seed=seed)
            free = EngineRequest(prompt, sampling, end_ids=self.tokenizer.end_ids)
            self._key += 1
            self.engine.add(self._key, replace(free, grammar=self._forms.grammar(form, free, self.engine.info)))
            ids[self._key] = []
        while self.engine.wait_s() is not None:
            for key, chunk in self.engine.step():
                ids[key] += chunk.token_ids
                finish[key] = chunk.finish or finish.get(key)
        return [(self.tokenizer.decode(found), finish.get(key)) for key, found in ids.items()]


class ServedForms:
    """The OpenAI server at `url`, which ends in /v1. Each question is asked for whole and as a stream.

    One at a time: what shares a batch changes the last digits of the engine's numbers, and so, where two tokens are about as
    likely, the answer.
    """

    def __init__(self, url: str) -> None:
        self._client = OpenAI(base_url=url, api_key="none", max_retries=0)
        self._model = self._client.models.list().data[0].id

    def answers(
        self, form: Form, question: str, seeds: Sequence[int], max_tokens: int = 1500
    ) -> list[tuple[str, FinishReason | None]]:
        """(text, finish) for each seed, at temperature 1. Raises AssertionError where a stream has another text."""
        schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": json.loads(form.spec)}}
        asked: dict[str, Any] = {
            "model": self._model, "messages": [{"role": "user", "content": question}], "temperature": 1.0,
            "max_tokens": max_tokens, "response_format": schema,
        }  # fmt: skip
        found: list[tuple[str, FinishReason | None]] = []
        for seed in seeds:
            whole = self._client.chat.completions.create(**asked, seed=seed).choices[0]
            pieces = [p.choices[0] for p in self._client.chat.completions.create(**asked, seed=seed, stream=True)]
            text, finish = "".join(piece.delta.content or "" for piece in pieces), pieces[-1].finish_reason
            assert (text, finish) == (whole.message.content, whole.finish_reason), (seed, whole, text, finish)
            found.append((text, whole.finish_reason))
        return found


def without_thinking(text: str) -> str:
    """What stands behind the think block, where there is one."""
    return text.rpartition("</think>")[2]


def validator(schema: Any) -> Any:
    """The jsonschema package's validator of the schema's draft, with formats."""
    kind = jsonschema.Draft4Validator if _is_draft4(schema) else jsonschema.Draft202012Validator
    kind.check_schema(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def _is_draft4(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        isinstance(schema.get("items"), list) or schema.get("exclusiveMinimum") is True
    )


def fault_of(text: str, schema: Any) -> str:
    """Why an answer is no instance; "" if it is one."""
    try:
        validator(schema).validate(json.loads(without_thinking(text)))
    except (ValueError, jsonschema.ValidationError) as error:
        return str(error).splitlines()[0]
    return ""
