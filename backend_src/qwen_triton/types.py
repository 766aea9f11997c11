"""The core types: immutable, valid by construction, free of arrays and engines.

`GenerateRequest` is what a caller asks for, `EngineRequest` what an engine is asked for, `TokenChunk` what an engine
hands out, `TextChunk` what the caller receives. The chunks are named tuples, because one of each is made per token and
a frozen dataclass takes four times as long to make. The table of sampling parameters (`SAMPLING`) has the only names of
tensors and of HTTP fields in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, NamedTuple, get_args

from .errors import InvalidRequest

FinishReason = Literal["stop", "length", "cancelled", "error", "refused"]
PromptFormat = Literal["raw", "chat"]
ToolChoiceMode = Literal["auto", "none", "required", "named"]

MAX_SEQUENCES = 128
"""The most sequences (n, best_of, beam width) that one request may have."""


@dataclass(frozen=True, slots=True)
class SamplingParameter:
    """One sampling parameter: its range and its name on each wire. `SAMPLING` holds all of them.

    `name` and `default` are the field's of SamplingParams. `low` and `high` belong to the range unless `above_low`.
    `tensors` are the inputs that carry it in the text models, ours first (none: it has a codec of its own);
    `engine_tensors` those of the engine model (none: only the BLS has the parameter). `openai`: the field of OpenAI's
    body, "" where there is none. `neutral` asks an engine for nothing, so that one that does not honour the parameter
    takes it. `unit` is the plural of what is counted. `stock`: the last name of each is tensorrtllm_backend v0.14.0's.
    """

    name: str
    default: float | None
    kind: type[int] | type[float]
    help: str
    low: float
    high: float
    tensors: tuple[str, ...]
    engine_tensors: tuple[str, ...]
    openai: str
    above_low: bool = False
    neutral: float | None = None
    unit: str = ""
    stock: bool = False

    @property
    def range_text(self) -> str:
        """The range in words: «0 to 100», «above 0, up to 100», «1 or more», «any whole number»."""
        if self.high >= _INT32 and self.low <= -_INT32:
            return "any whole number"
        if self.high >= _INT32:
            return f"{self.low} or more"
        return f"above {self.low}, up to {self.high}" if self.above_low else f"{self.low} to {self.high}"


_INT32 = 2**31 - 1


def _integer(text: str, low: int, high: int, default: int | None = None, **more: Any) -> Any:
    """A field of SamplingParams and its row of the table; `more` as SamplingParameter, where it is not the usual."""
    row = {"default": default, "kind": int, "help": text, "low": low, "high": high, **more}
    return field(default=default, metadata=row)


def _number(text: str, low: float, high: float, **more: Any) -> Any:
    """As `_integer`, for a float that is None where it is not given."""
    row = {"default": None, "kind": float, "help": text, "low": low, "high": high, **more}
    return field(default=None, metadata=row)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen: each field is a row of the table of sampling parameters (`SAMPLING`).

    None means «not given»; with no sampling parameter given at all, decoding is greedy. A new parameter is one line
    here and a word in engines/capabilities.py for each engine that honours it. Raises InvalidRequest for a value
    outside its range, with the field's name.
    """

    max_tokens: int | None = _integer(
        "most tokens of the answer; the rest of the context without it",
        *(1, _INT32), unit="tokens", stock=True, engine_tensors=("request_output_len",),
    )  # fmt: skip
    min_tokens: int = _integer(
        "fewest tokens before the answer may end",
        *(0, _INT32, 0), unit="tokens", neutral=0, stock=True, tensors=("min_tokens", "min_length"),
    )  # fmt: skip
    temperature: float | None = _number("0 = always the likeliest token; higher is more varied", 0, 100, stock=True)
    top_k: int | None = _integer(
        "choose among the K likeliest tokens only; 0 = all",
        *(0, _INT32), unit="tokens", stock=True, engine_tensors=("runtime_top_k",),
    )  # fmt: skip
    top_p: float | None = _number(
        "choose among the likeliest tokens that make up this share", 0, 1, stock=True, engine_tensors=("runtime_top_p",)
    )
    min_p: float | None = _number("leave out tokens less likely than this share of the likeliest one", 0, 1, neutral=0)
    repetition_penalty: float | None = _number(
        "above 1: tokens that occurred become less likely", 0, 100, above_low=True, neutral=1, stock=True
    )
    presence_penalty: float | None = _number(
        "lowers tokens that occurred in the answer, once", -2, 2, neutral=0, stock=True
    )
    frequency_penalty: float | None = _number("lowers tokens for each time they occurred", -2, 2, neutral=0, stock=True)
    length_penalty: float | None = _number(
        "beam search: above 0 favours longer answers",
        *(-100, 100), stock=True, engine_tensors=("len_penalty",), openai="",
    )  # fmt: skip
    seed: int | None = _integer(
        "the same seed gives the same answer; a fresh one without it",
        *(0, 2**64 - 1), stock=True, tensors=("seed", "random_seed"),
    )  # fmt: skip
    logprobs: int | None = _integer(
        "log probabilities: 0 = of the chosen tokens, N = also of the N likeliest", 0, 20, unit="tokens", tensors=()
    )
    prompt_logprobs: int | None = _integer(
        "log probabilities of the prompt: 0 = of its tokens, N = also of the N likeliest at each place",
        *(0, 20), unit="tokens", openai="",
    )  # fmt: skip
    priority: int | None = _integer(
        "lower numbers run first, where the engine schedules by priority", -_INT32, _INT32, neutral=0
    )
    beam_width: int = _integer(
        "beam search with so many beams", 1, MAX_SEQUENCES, 1, unit="beams", neutral=1, stock=True, openai=""
    )
    n: int = _integer(
        "how many answers",
        *(1, MAX_SEQUENCES, 1), unit="answers", neutral=1, stock=True, tensors=("num_return_sequences",),
    )  # fmt: skip
    best_of: int | None = _integer(
        "generate so many, return the n likeliest", 1, MAX_SEQUENCES, unit="answers", engine_tensors=()
    )

    def __post_init__(self) -> None:
        for name, low, high, excluded in _RANGES:
            value = getattr(self, name)
            if value is not None and not (low <= value <= high and value != excluded):
                raise _outside(name, "[" if excluded is None else "(", low, high, value)
        if self.best_of is not None and self.best_of < self.n:
            raise _outside("best_of", "[", self.n, MAX_SEQUENCES, self.best_of)
        self._check_lengths()

    def _check_lengths(self) -> None:
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidRequest(f"must not be larger than max_tokens ({self.max_tokens})", "min_tokens")

    def resolved(self, max_tokens: int, seed: int, logprobs: int | None) -> SamplingParams:
        """A copy with these values, each of which is in its range. Raises InvalidRequest where `min_tokens` exceeds the length.

        Made for each request, so the other fields are copied without being checked again, which takes a sixth of the time.
        """
        copy = object.__new__(SamplingParams)
        for name in _COPIED:
            _set(copy, name, getattr(self, name))
        _set(copy, "max_tokens", max_tokens)
        _set(copy, "seed", seed)
        _set(copy, "logprobs", logprobs)
        copy._check_lengths()
        return copy

    @property
    def greedy(self) -> bool:
        """True when the most likely token is always taken."""
        given = any(getattr(self, name) is not None for name in CHOICE)
        return not given or self.temperature == 0 or self.top_k == 1 or self.beam_width > 1

    @property
    def sequences(self) -> int:
        """The number of sequences generated for one prompt, before the best are chosen."""
        return max(self.n, self.best_of or 1)


def _outside(name: str, bracket: str, low: float, high: float, value: float) -> InvalidRequest:
    return InvalidRequest(f"must be in {bracket}{low}, {high}], got {value:g}", name)


def _row(declared: Field[Any]) -> SamplingParameter:
    """A field's row; a name that the field does not give is its own."""
    tensors = declared.metadata.get("tensors", (declared.name,))
    names = {"tensors": tensors, "engine_tensors": tensors, "openai": declared.name}
    return SamplingParameter(declared.name, **{**names, **declared.metadata})


SAMPLING = tuple(map(_row, fields(SamplingParams)))
"""The table of sampling parameters. Tensors, clients' parameters and flags, the OpenAI shim and the check of what an
engine honours are made from it. It lies here, beside the type whose fields and ranges it is, because the package `tensors`
may import from here and not the reverse; the tensors' names are in it so that a parameter is one row."""
CHOICE = ("temperature", "top_k", "top_p", "min_p")
"""The parameters of the random choice of a token; without any of them the most likely token is taken."""
_RANGES = tuple((p.name, p.low, p.high, p.low if p.above_low else None) for p in SAMPLING)
"""What __post_init__ needs of the table: a request is checked several times, so no attribute is looked up twice."""
_COPIED = tuple(p.name for p in SAMPLING if p.name not in ("max_tokens", "seed", "logprobs"))
_set = object.__setattr__
"""Sets a field of a frozen object that is being made."""


@dataclass(frozen=True, slots=True)
class StopConditions:
    """When an answer ends before `max_tokens`. Stop strings are matched in the text, however it is tokenized."""

    strings: tuple[str, ...] = ()
    token_ids: tuple[int, ...] = ()
    include_in_output: bool = False
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if any(not s for s in self.strings):
            raise InvalidRequest("an empty stop string would match everywhere; leave it out", "stop")


@dataclass(frozen=True, slots=True)
class TokenBias:
    """Changes of the engine's choice of tokens: forbidden words, and additive biases on words or token ids."""

    bad_words: tuple[str, ...] = ()
    words: tuple[tuple[str, float], ...] = ()
    token_ids: Mapping[int, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.bad_words or self.words or self.token_ids)


FormKind = Literal["json_object", "json_schema", "regex", "choice", "grammar", "structural_tag"]
FORM_KINDS: tuple[FormKind, ...] = get_args(FormKind)
GUIDED_DECODING_GUIDE = "guided_decoding_guide"
"""The name by which refusals of a form's text call it: its tensor, as stock's."""


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer must look like, from behind its thinking to its end.

    `spec` is the schema as JSON, the regex, the choices as a JSON list of texts, the grammar in EBNF, or the structural tag
    as JSON; "" for json_object.
    """

    kind: FormKind
    spec: str = ""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether an answer calls tools: `auto` = as the model likes, `none`, `required` = at least one, `named` = `name`."""

    mode: ToolChoiceMode = "auto"
    name: str = ""

    @classmethod
    def read(cls, value: object) -> ToolChoice:
        """Of OpenAI's value: a word, or an object that names a function. Raises InvalidRequest for any other."""
        if value == "auto" or value == "none" or value == "required":
            return cls(value)
        named = value if isinstance(value, Mapping) and value.get("type", "function") == "function" else {}
        function = named.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not name:
            raise InvalidRequest(f"expected {_TOOL_CHOICES}", "tool_choice")
        return cls("named", name)

    @property
    def forced(self) -> bool:
        """Whether the answer must be a call."""
        return self.mode in ("required", "named")

    @property
    def value(self) -> str | dict[str, Any]:
        """OpenAI's value, the inverse of `read`."""
        return {"type": "function", "function": {"name": self.name}} if self.mode == "named" else self.mode


_TOOL_CHOICES = 'none, auto, required or {"type": "function", "function": {"name": …}}'

ANSWER_PREFIX = "answer_prefix"
"""Template option: the beginning of the answer, as part of the prompt."""


@dataclass(frozen=True, slots=True)
class LoraTask:
    """The adapter of NVIDIA's backend that answers, by its number; the first request of a task has the adapter with it.

    `weights`: FP16, `config`: int32, as on the wire, of shapes [modules, values] and [modules, 3]. `modules`: the adapted
    modules of all layers; 0 and b"" where the backend has the adapter in its cache.
    """

    task_id: int
    modules: int = 0
    weights: bytes = b""
    config: bytes = b""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A client's request for one prompt. Exactly one of `prompt`, `messages`, `token_ids` is set.

    `end_id` and `pad_id` replace the checkpoint's own; with `accumulate` each piece of a stream has the whole text so
    far; `echo` puts the prompt before the answer (stock: exclude_input_in_output = false). None = the deployment's.
    `count_pieces`: each piece of a stream has the token counts so far, not only the last; `count_first`: so has the first
    one. `counts_input` and `counts_output`: whether the answer has the count of its prompt's tokens, and of its own.
    `return_token_ids`: the answer has the token ids of its prompt and its own.
    `parallel_tool_calls` false: an answer to `messages` with `tools` ends when its first tool call is closed.
    `clamp_max_tokens`: a `max_tokens` beyond the rest of the context is cut to that rest; else it is refused. `lora_name`: the
    engine's adapter that answers; None = the model as it is. `lora_task`: the same for NVIDIA's backend. `form`: what the
    answer must look like, None for free text. `perf_metrics`: the answer has the engine's metrics of it.
    """

    prompt: str | None = None
    messages: tuple[Mapping[str, Any], ...] | None = None
    token_ids: tuple[int, ...] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    template_options: Mapping[str, Any] = field(default_factory=dict)
    prompt_format: PromptFormat | None = None
    sampling: SamplingParams = SamplingParams()
    stop: StopConditions = StopConditions()
    bias: TokenBias = TokenBias()
    end_id: int | None = None
    pad_id: int | None = None
    stream: bool = False
    count_pieces: bool = False
    count_first: bool = False
    counts_input: bool = True
    counts_output: bool = True
    clamp_max_tokens: bool = False
    parallel_tool_calls: bool = True
    form: Form | None = None
    return_token_ids: bool = False
    accumulate: bool | None = None
    echo: bool | None = None
    lora_name: str | None = None
    lora_task: LoraTask | None = None
    perf_metrics: bool = False

    def __post_init__(self) -> None:
        given = [n for n in ("prompt", "messages", "token_ids") if getattr(self, n) is not None]
        if len(given) != 1:
            kinds = "a prompt is text, messages or token ids"
            if not given:
                raise InvalidRequest(f"is missing; {kinds}: give one of them", "text_input")
            raise InvalidRequest(f"{kinds}: give only one of them, got {' and '.join(given)}", "text_input")

    @property
    def answer_prefix(self) -> str:
        """The text that the prompt ends with and the answer continues; "" for none."""
        prefix = self.template_options.get(ANSWER_PREFIX, "")
        return prefix if isinstance(prefix, str) else ""


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One sequence (or beam search) for an engine, with every default resolved.

    `sampling.max_tokens` and `sampling.seed` are always set. `end_ids` end the answer and are not part of its text;
    so do the client's `stop_token_ids`. `stop_sequences` are the stop strings as this tokenizer encodes each alone: a
    hint by which an engine may end early; the text is scanned in any case. `queue_timeout_s`: how long it may wait for
    a slot before it is refused; None = no bound. `lora_name`: as in GenerateRequest. `chunk_tokens`: the fewest tokens of
    a chunk between the first and the last, 0 = there is none between them: of a whole answer nothing is needed sooner. An
    engine may send more chunks. `grammar`: the form of the answer in EBNF (chat.forms.compile), "" for none. `lora_task` and
    `perf_metrics`: as in GenerateRequest; no engine process of ours takes them.
    """

    token_ids: tuple[int, ...]
    sampling: SamplingParams
    end_ids: tuple[int, ...] = ()
    pad_id: int = 0
    stop_token_ids: tuple[int, ...] = ()
    stop_sequences: tuple[tuple[int, ...], ...] = ()
    bad_words: tuple[tuple[int, ...], ...] = ()
    bias: Mapping[int, float] = field(default_factory=dict)
    stream: bool = True
    queue_timeout_s: float | None = None
    chunk_tokens: int = 1
    grammar: str = ""
    lora_name: str | None = None
    lora_task: LoraTask | None = None
    perf_metrics: bool = False


class PromptLogProbs(NamedTuple):
    """Log probs (natural log) of a prompt's tokens from the second one on: the first has none, nothing precedes it.

    `log_probs[i]` belongs to token i + 1 of the prompt; `top_log_probs[i]` are the (id, log prob) pairs of the likeliest
    tokens at its place, most likely first, empty unless requested.
    """

    log_probs: Sequence[float] = ()
    top_log_probs: Sequence[Sequence[tuple[int, float]]] = ()


class TokenChunk(NamedTuple):
    """New tokens of one sequence, in order. `finish` is set on the last chunk only.

    An end or stop id is in `stop_token`, not in `token_ids`. `log_probs[i]` belongs to `token_ids[i]` (natural log;
    empty unless requested), `top_log_probs[i]` are (id, log prob) pairs, most likely first. `sequence` is the beam.
    `error` is a message for the server's log, with finish = "error"; with finish = "refused" it says to the caller why the
    engine does not take the form of the answer, and nothing came before. `cached_tokens`: those of the prompt that a cache had,
    said once. `last` is False on the last chunk of every beam of a search but the last beam's: after a chunk with `finish` and
    `last` nothing more comes for the request. `prompt`: those of the prompt, on the first chunk of a sequence that requests
    them. `metrics`: the engine's metrics of the sequence so far, raw contents of one value by output name, where they are
    requested.
    """

    token_ids: Sequence[int] = ()
    log_probs: Sequence[float] = ()
    top_log_probs: Sequence[Sequence[tuple[int, float]]] = ()
    finish: FinishReason | None = None
    stop_token: int | None = None
    sequence: int = 0
    cached_tokens: int = 0
    cum_log_prob: float | None = None
    error: str = ""
    last: bool = True
    prompt: PromptLogProbs | None = None
    metrics: Mapping[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer: of the prompt, generated for it (with an end id), and of the prompt found in a cache.

    `reasoning_tokens`: those of the generated ones that are thinking; None where that is not known.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int | None = None


class TextChunk(NamedTuple):
    """New text of one sequence. On the last chunk `finish`, `usage` and, after a stop, `stop_reason` are set.

    `stop_reason` is the stop string or stop token id that ended the answer, None for the model's own end id.
    `token_ids` and `log_probs` are those of the tokens that are sent with this chunk. `metrics`: as in TokenChunk.
    """

    text: str = ""
    token_ids: Sequence[int] = ()
    log_probs: Sequence[float] = ()
    top_log_probs: Sequence[Sequence[tuple[int, float]]] = ()
    finish: FinishReason | None = None
    stop_reason: str | int | None = None
    usage: Usage | None = None
    sequence: int = 0
    cum_log_prob: float | None = None
    metrics: Mapping[str, bytes] | None = None
