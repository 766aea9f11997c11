"""The form of a request's answer as the grammar that its engine is given, or the reason why that engine keeps none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..chat.forms.compile import FormBounds, FormCompiler, Thinking
from ..chat.forms.marks import token_marks
from ..errors import InvalidRequest
from ..text.tokenizer import Tokenizer
from ..types import GUIDE, Form, SamplingParams
from .engine import EngineInfo

_REASONS: Mapping[str, str] = {
    "openvino": "this model's folder has no vocabulary for it; give a checkpoint with its tokenizer, which is converted",
    "tensorrtllm": "needs TensorRT-LLM 0.19 or newer, and engine.guided_decoding_backend: xgrammar in the deployment",
    "replay": "a script has the same answer whatever is asked; engine.forms: play takes a form and plays the script",
    "vllm": "this engine was started without a tokenizer; give a checkpoint's folder that has one",
}


class FormGrammars:
    """Makes the grammars of one model's requests. Thread-safe. `tokenizer` None: answers are taken to have no thinking."""

    def __init__(self, tokenizer: Tokenizer | None, bounds: FormBounds) -> None:
        self._tokenizer = tokenizer
        self._plain = FormCompiler(bounds)
        self._marked = FormCompiler(bounds, token_marks(tokenizer.added_tokens) if tokenizer else None)

    def grammar(
        self,
        form: Form | None,
        prompt_ids: Sequence[int],
        end_ids: Sequence[int],
        sampling: SamplingParams,
        engine: EngineInfo,
    ) -> str:
        """The grammar of an answer, "" for free text.

        Raises InvalidRequest for a form that is malformed or not kept, and for parameters that contradict any form.
        """
        if form is None:
            return ""
        if not engine.forms:
            raise InvalidRequest(f"the {engine.name} engine keeps no form here: {_REASONS.get(engine.name, '')}", GUIDE)
        _check_others(end_ids, sampling)
        compiler = self._marked if engine.forms == "marks" else self._plain
        return compiler.ebnf(form, self._thinking(prompt_ids))

    def _thinking(self, prompt_ids: Sequence[int]) -> Thinking:
        """Whether a think block stands before the form: the prompt opened one, or the model may open one itself."""
        if self._tokenizer is None:
            return "none"
        opening, closing = (self._tokenizer.encode(tag) for tag in ("<think>", "</think>"))
        if len(opening) != 1 or len(closing) != 1:
            return "none"
        turn = self._tokenizer.special_tokens.get("<|im_start|>")
        last = next((token for token in reversed(prompt_ids) if token in (opening[0], closing[0], turn)), None)
        return "open" if last == opening[0] else "may" if last is not None and last == turn else "none"


def _check_others(end_ids: Sequence[int], sampling: SamplingParams) -> None:
    """Refuses what would keep an answer from ending where its form does."""
    if not end_ids:
        raise InvalidRequest(
            "an answer of a form ends where its form does; leave out ignore_eos and end_id = -1", GUIDE
        )
    if sampling.min_tokens:
        raise InvalidRequest("an answer of a form ends where its form does; leave it out", "min_tokens")
    if sampling.beam_width > 1:
        raise InvalidRequest("beam search keeps no form; leave it out", "beam_width")
