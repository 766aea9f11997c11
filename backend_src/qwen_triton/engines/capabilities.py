"""Capabilities of the engines: which parameters each honours. What an engine does not list is refused by name.

A parameter of the sampling table (types.SAMPLING) that is in no set here is refused by every engine. Knows no arrays and
imports no engine's library, because the BLS checks requests for an engine that runs in another process. A form of the answer
becomes the grammar that the engine is given, or is refused with the reason why that engine keeps none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from ..chat.forms.compile import FormBounds, FormCompiler, Thinking
from ..chat.forms.marks import token_marks
from ..errors import InvalidRequest
from ..tensors.contract import LORA_NAME, LORA_TASK_ID, RETURN_PERF_METRICS
from ..types import GUIDED_DECODING_GUIDE, SAMPLING, EngineRequest, Form, SamplingParams
from .engine import EngineInfo

if TYPE_CHECKING:  # the process of an engine has only what that engine needs, which need not be a tokenizer
    from ..text.tokenizer import Tokenizer

_SETTLED = {"max_tokens", "seed", "n", "best_of"}
"""Every engine has a length and a seed; preprocessing makes sequences of n and best_of before an engine sees them."""

HONOURED: dict[str, frozenset[str]] = {
    "openvino": frozenset(
        {
            *("min_tokens", "temperature", "top_k", "top_p", "min_p"),
            *("repetition_penalty", "presence_penalty", "frequency_penalty"),
            *("beam_width", "length_penalty", "logprobs", "prompt_logprobs"),
        }
    ),
    "replay": frozenset(
        {
            *("min_tokens", "temperature", "top_k", "top_p", "min_p"),
            *("logprobs", "top_logprobs", "prompt_logprobs", "bad_words", "embedding_bias"),
        }
    ),
    "vllm": frozenset(
        {
            *("min_tokens", "temperature", "top_k", "top_p", "min_p"),
            *("repetition_penalty", "presence_penalty", "frequency_penalty"),
            *("logprobs", "top_logprobs", "prompt_logprobs", "bad_words", "embedding_bias"),
        }
    ),
    "llmapi": frozenset({"temperature", "top_k", "top_p", "logprobs", "embedding_bias"}),
    "tensorrtllm": frozenset(
        {
            *("min_tokens", "temperature", "top_k", "top_p"),
            *("repetition_penalty", "presence_penalty", "frequency_penalty"),
            *("beam_width", "length_penalty", "logprobs", "bad_words", "embedding_bias"),
        }
    ),
}
"""`top_logprobs` are the log probs of other tokens than the chosen one (logprobs > 0). `temperature`, `top_k`, `top_p` and
`min_p` change nothing in replay: a script has one answer at any temperature. What an engine honours only as some options
have it loaded (`priority`, `lora_name`), or only some versions of it (`lora_task_id`, `return_perf_metrics`, what a release's
sampler does), is not here but in its EngineInfo."""

_CHOSEN_ALONE = frozenset({"openvino"})
"""Engines that have the log prob of the chosen token alone. Where it is sure to be the likeliest, a request for the likeliest
one (logprobs = 1) has it too."""
_SAMPLER_S = ("min_tokens", "repetition_penalty", "presence_penalty", "frequency_penalty", "min_p", "bad_words")
"""What llmapi honours only by some samplers of TensorRT-LLM."""
_REMEDIES = {
    (
        "openvino",
        "top_logprobs",
    ): "this engine knows the likeliest token only, and that with temperature = 0 and no penalties",
    ("tensorrtllm", RETURN_PERF_METRICS): "needs TensorRT-LLM 0.19 or newer; leave it out",
    ("tensorrtllm", LORA_TASK_ID): "needs an engine that was built with lora_plugin; leave it out",
    ("llmapi", LORA_TASK_ID): f"adapters are chosen by name here: {LORA_NAME}; leave it out",
    ("vllm", LORA_TASK_ID): f"adapters are chosen by name here: {LORA_NAME}; leave it out",
    ("vllm", "priority"): "needs engine.scheduling_policy: priority in the deployment; leave it out",
    ("llmapi", "top_logprobs"): "needs engine.sampler_type: TorchSampler in the deployment; leave it out",
    ("llmapi", "lora_name"): "this server has no adapters (engine.lora in the deployment); leave it out",
    **dict.fromkeys(
        (("llmapi", name) for name in _SAMPLER_S),
        "needs engine.sampler_type: TRTLLMSampler with TensorRT-LLM 1.2, or a newer release, and no speculative decoding; "
        "leave it out",
    ),
    ("vllm", "lora_name"): "this server has no adapters (engine.lora in the deployment); leave it out",
}
"""What an engine could honour with other options."""

_UNSEEDED = (
    "this sampler has one seed for all requests; it needs engine.sampler_type: TRTLLMSampler with TensorRT-LLM 1.2, or a newer "
    "release; leave it out"
)
_SHAPING = ("min_tokens", "repetition_penalty", "presence_penalty", "frequency_penalty")
"""Parameters by which a greedy choice may pass over the likeliest token."""
_CHECKED = tuple((p.name, p.neutral) for p in SAMPLING if p.name not in _SETTLED)


def _used(request: EngineRequest) -> set[str]:
    """The parameters of which the request asks something of an engine."""
    sampling = request.sampling
    used = {name for name, neutral in _CHECKED if getattr(sampling, name) not in (None, neutral)}
    if sampling.beam_width == 1:
        used.discard("length_penalty")  # without effect there, so no engine need honour it
    if sampling.logprobs:
        used.add("top_logprobs")
    if request.bad_words:
        used.add("bad_words")
    if request.bias:
        used.add("embedding_bias")
    if request.lora_name:
        used.add("lora_name")
    if request.lora_task:
        used.add(LORA_TASK_ID)
    if request.perf_metrics:
        used.add(RETURN_PERF_METRICS)
    return used


def check_request(engine: EngineInfo, request: EngineRequest, *, seeded: bool = False) -> None:
    """Raises InvalidRequest for a parameter that the engine does not honour, and for an adapter that it does not have.

    `seeded`: the seed is the client's; one that was drawn for a request without is not looked at.
    """
    loaded = {*engine.honours, "lora_name"} if engine.adapters else engine.honours
    check_honoured(engine.name, request, loaded)
    if request.lora_name and request.lora_name not in engine.adapters:
        raise InvalidRequest(f"no adapter has this name; there are {', '.join(engine.adapters)}", "lora_name")
    if seeded and not engine.seeds and not request.sampling.greedy:
        raise InvalidRequest(_UNSEEDED, "seed")


def check_honoured(engine: str, request: EngineRequest, loaded: Collection[str] = ()) -> None:
    """Raises InvalidRequest naming the first parameter of `request` (by alphabet) that `engine` does not honour.

    `loaded`: parameters that it honours beside those of its kind.
    """
    missing = _used(request) - HONOURED[engine]
    missing.difference_update(loaded)
    if engine in _CHOSEN_ALONE and _chooses_the_likeliest(request):
        missing.discard("top_logprobs")
    if missing:
        name = min(missing)
        unsupported = f"the {engine} engine does not support it; leave it out"
        raise InvalidRequest(_REMEDIES.get((engine, name), unsupported), name)


def _chooses_the_likeliest(request: EngineRequest) -> bool:
    """Whether the log prob of the likeliest token is wanted where every token is that one."""
    sampling = request.sampling
    shaped = any(getattr(sampling, name) not in (None, neutral) for name, neutral in _CHECKED if name in _SHAPING)
    return sampling.logprobs == 1 and sampling.greedy and sampling.beam_width == 1 and not (shaped or request.bias)


_REASONS: Mapping[str, str] = {
    "openvino": "this model's folder has no vocabulary for it; give a checkpoint with its tokenizer, which is converted",
    "tensorrtllm": "needs TensorRT-LLM 0.19 or newer, and engine.guided_decoding_backend: xgrammar in the deployment",
    "replay": "a script has the same answer whatever is asked; engine.forms: play takes a form and plays the script",
    "llmapi": "needs engine.guided_decoding_backend: xgrammar in the deployment",
    "vllm": "this engine was started without a tokenizer; give a checkpoint's folder that has one",
}


class FormGrammars:
    """Makes the grammars of one model's requests. Thread-safe. `tokenizer` None: answers are taken to have no thinking."""

    def __init__(self, tokenizer: Tokenizer | None, bounds: FormBounds) -> None:
        self._tokenizer = tokenizer
        self._plain = FormCompiler(bounds)
        self._marked = FormCompiler(bounds, token_marks(tokenizer.added_tokens) if tokenizer else None)

    def grammar(self, form: Form | None, request: EngineRequest, engine: EngineInfo, *, begun: bool = False) -> str:
        """The grammar of an answer, "" for free text. `begun`: the prompt has begun the answer, so no thinking comes first.

        Raises InvalidRequest for a form that is malformed or not kept, and for parameters that contradict any form.
        """
        if form is None:
            return ""
        if not engine.forms:
            self.refuse(engine, GUIDED_DECODING_GUIDE)
        _check_others(request.end_ids, request.sampling)
        compiler = self._marked if engine.forms == "marks" else self._plain
        return compiler.ebnf(form, "none" if begun else self._thinking(request.token_ids))

    @staticmethod
    def refuse(engine: EngineInfo, field: str) -> NoReturn:
        """Raises InvalidRequest: this engine keeps no form."""
        raise InvalidRequest(f"the {engine.name} engine keeps no form here: {_REASONS.get(engine.name, '')}", field)

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
            "an answer of a form ends where its form does; leave out ignore_eos and end_id = -1", GUIDED_DECODING_GUIDE
        )
    if sampling.min_tokens:
        raise InvalidRequest("an answer of a form ends where its form does; leave it out", "min_tokens")
    if sampling.beam_width > 1:
        raise InvalidRequest("beam search keeps no form; leave it out", "beam_width")
