"""One answer, asked whole and streamed: the model's tokens through the server's encoder and the shim's writers or the client.

The stream is put together by OpenAI's own package. What a real server adds to this path, sockets and threads, only
changes how tokens are grouped, and these are grouped at random.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from qwen_triton.serving.answer import ChoiceIndex, SequenceAnswer
from qwen_triton.serving.text_answer import TextEncoder
from qwen_triton.tensors import contract
from qwen_triton.tensors.arrays import NUMPY, Arrays, encode_raw
from qwen_triton.tensors.text_outputs import TextPiece, decode_text_outputs, merge_pieces
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import (
    ANSWER_PREFIX,
    EngineRequest,
    GenerateRequest,
    SamplingParams,
    StopConditions,
    TokenChunk,
    ToolChoice,
)
from qwen_triton_client.chat_answer import ChatAnswer, ChatResult
from qwen_triton_client.text_answer import TextAnswer
from qwen_triton_openai.answers.chat_message import ChatChoice, whole_choices
from qwen_triton_openai.answers.chat_writer import ChatWriter
from qwen_triton_openai.answers.chunks import ChunkFrame
from qwen_triton_openai.answers.completion_writer import CompletionWriter, completion_choices
from qwen_triton_openai.answers.response import Writer
from qwen_triton_openai.answers.usage import UsageCount
from tests.support.fake_triton import events

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京 🌆"}}\n</tool_call>'
XML_CALL = "<tool_call>\n<function=get_weather>\n<parameter=city>\n北京 🌆\n</parameter>\n</function>\n</tool_call>"
FRAGMENTS = (
    CALL, f"\n{CALL}", "<tool_call>", "</tool_call>", "<think>", "</think>", "\n</think>\n\n", "\n", " ", "a", "Paris ",
    "你好🙂", "\u2028", "Observation", "<|im_start|>", "<|endoftext|>", "<", "</", "{", "}", '"', ",", ":", "\\u00", "null",
    '<tool_call>\n{"name": "f", "arguments": {"a": "', '<tool_call>\n{"name": "f", "arguments": {oops',
    '<tool_call>{"name":"write","arguments":{"text":"close with </tool_call> ok"}}</tool_call>',
    '<tool_call>\n{"name": "f", "arguments": "{\\"a\\": 1}"}\n</tool_call>', '<tool_call>\n{"name": "g"}\n</tool_call>',
    XML_CALL, XML_CALL.removeprefix("<tool_call>\n"), "<function=", "<parameter=", "</parameter>\n", "</function>\n",
    "<tool_call>\n<function=f>\n<parameter=a>\n", "<parameter=n>\n007\n</parameter>\n", "\n</parameter>\n</function>\n",
    "<tool_call>\n<function=write>\n<parameter=text>\nclose with </parameter> ok\n</parameter>\n</function>\n</tool_call>",
    "<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>", "=get_weather>\n", "</function>\n</tool_call>",
    "<parameter=n>\n[1, 2", "<parameter=o>\n{'a': True}\n</parameter>", "<tool_call>\n<function=g>\n</function>\n</tool_call>",
    ' {"city": "Oslo"}}\n</tool_call>', ' "get_weather", "arguments": {}}\n</tool_call>', '"\\ud83d\\ude00\\ud83d"}}',
)  # fmt: skip
STOPS = ("Observation", "</tool_call>", "</think>", '"', "a", "\n\n", "好🙂")
AUTO = ToolChoice()
CHOICES = (*[AUTO] * 4, ToolChoice("required"), ToolChoice("named", "get_weather"))
TOOLS: tuple[dict[str, Any], ...] = tuple(
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}
    for name, properties in {
        "get_weather": {"city": {"type": "string"}},
        "f": {"a": {"type": "string"}, "n": {"type": ["integer", "null"]}, "o": {"type": "object"}},
        "g": {},
        "write": {"text": {"type": "string"}},
    }.items()
)
PARTIAL = ("partial",)
"""In place of a text: one token with bytes of no whole character."""
IM_END, IM_START, THINK = "<|im_end|>", "<|im_start|>", "<think>"


@dataclass(frozen=True)
class AnswerCase:
    """A request and what the model says to it: `texts` of each sequence, as fragments."""

    texts: list[list[str]]
    tools: bool = False
    tool_format: str = "hermes"
    choice: ToolChoice = AUTO
    opened: bool = False
    begun: str = ""
    parallel: bool = True
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stop_in_output: bool = False
    min_tokens: int = 0
    ends: bool = True
    logprobs: bool = False
    each: bool = False
    seed: int = 0

    @property
    def request(self) -> dict[str, Any]:
        """What of it is in the request to the model: tools, choice and prefix."""
        forced = self.tools and self.choice.forced
        return {
            "tools": TOOLS if self.tools else (),
            "tool_choice": self.choice if forced else AUTO,
            "template_options": {ANSWER_PREFIX: self.begun} if self.begun and not forced else {},
        }


def answer_cases() -> st.SearchStrategy[AnswerCase]:
    """Any of them."""
    text = st.lists(st.sampled_from((*FRAGMENTS, *PARTIAL)), max_size=7)
    return st.builds(
        AnswerCase, st.lists(text, min_size=1, max_size=3), st.booleans(),
        st.sampled_from(("hermes", "qwen3_coder")), st.sampled_from(CHOICES), st.booleans(),
        st.sampled_from(("", "", "Sure: ")), st.booleans(),
        st.none() | st.integers(1, 30), st.lists(st.sampled_from(STOPS), max_size=2, unique=True).map(tuple),
        st.booleans(), st.sampled_from((0, 0, 5)), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2**32),
    )  # fmt: skip


class _Played(list[TextPiece]):
    """A `ResponseStream` of these pieces."""

    def __iter__(self) -> Iterator[list[TextPiece]]:  # type: ignore[override]  # responses, each of one piece
        return ([piece] for piece in super().__iter__())

    def cancel(self) -> None:
        """Nothing runs."""


class TwoWays:
    """Answers requests both ways. `chat` false: as text completions."""

    def __init__(self, tokenizer: Tokenizer, chat: bool = True) -> None:
        self._tokenizer = tokenizer
        self._chat = chat
        self._partial = [i for i, data in tokenizer.bytes_by_id.items() if len(data) == 1 and data[0] > 127]

    def whole(self, case: AnswerCase) -> dict[str, Any]:
        """The choices and usage of the whole answer."""
        pieces, usage = self.whole_pieces(case), UsageCount(len(case.texts))
        new_choice = self.new_choice(case)
        choices = whole_choices(pieces, new_choice, usage) if self._chat else completion_choices(pieces, usage)
        return json.loads(json.dumps({"choices": choices, "usage": usage.as_json()}))  # type: ignore[no-any-return]

    def whole_pieces(self, case: AnswerCase) -> list[TextPiece]:
        """The pieces of an answer that is not streamed."""
        encoder, opened = self._encoder(case, stream=False)
        answers = [SequenceAnswer(index) for index in range(len(case.texts))]
        for chunk, index in self._chunks(case, random.Random(case.seed)):
            if not opened[index].done and (piece := opened[index].feed(chunk)) is not None:
                answers[index].add(piece)
        return decode_text_outputs(_raw(encoder.whole({0: answers})))

    def streamed(self, case: AnswerCase) -> dict[str, Any]:
        """The same of the stream's events."""
        frame = ChunkFrame("chat.completion.chunk" if self._chat else "text_completion", "id", 1, "qwen", usage=True)
        usage = UsageCount(len(case.texts))
        writer: ChatWriter | CompletionWriter
        if self._chat:
            writer = ChatWriter(frame, self.new_choice(case), usage, last=True, each=case.each)
        else:
            writer = CompletionWriter(frame, usage, last=True, each=case.each)
        *chunks, done = events(self.written(case, writer))
        assert done == "[DONE]"
        return _put_together(chunks) if self._chat else _joined(chunks)

    def written(self, case: AnswerCase, writer: Writer) -> str:
        """What a writer makes of the streamed answer, its pieces merged at random as a busy server's are."""
        draw = random.Random(case.seed + 1)
        body, waiting = b"", list[TextPiece]()
        for piece in self._pieces(case, draw):
            waiting.append(piece)
            if draw.random() < 0.6:
                body += writer.write(merge_pieces(waiting) if draw.random() < 0.5 else waiting)
                waiting = []
        return (body + writer.write(waiting) + writer.end()).decode()

    def by_client(self, case: AnswerCase) -> ChatResult:
        """What the client library makes of the stream; for one sequence."""
        answer = TextAnswer(_Played(list(self._pieces(case, random.Random(case.seed + 2)))))
        return ChatAnswer(answer, self._request(case, stream=True)).finish()

    def _pieces(self, case: AnswerCase, draw: random.Random) -> Iterator[TextPiece]:
        encoder, opened = self._encoder(case, stream=True)
        begun: set[int] = set()
        for chunk, index in self._chunks(case, draw):
            if opened[index].done or (piece := opened[index].feed(chunk)) is None:
                continue
            place = ChoiceIndex(0, index, len(opened) == 1, index not in begun)
            begun.add(index)
            yield from decode_text_outputs(_raw(encoder.piece(piece, place)))

    def new_choice(self, case: AnswerCase) -> Callable[[], ChatChoice]:
        """Makes decoders of the answer's choices."""
        return partial(ChatChoice, self._request(case, stream=True))

    def _request(self, case: AnswerCase, stream: bool) -> GenerateRequest:
        sampling = SamplingParams(
            n=len(case.texts),
            min_tokens=case.min_tokens,
            max_tokens=100,
            seed=1,
            logprobs=0 if case.logprobs else None,
        )
        return GenerateRequest(
            sampling=sampling,
            stop=StopConditions(case.stop, include_in_output=case.stop_in_output),
            stream=stream,
            count_pieces=case.each,
            count_first=stream,
            echo=not self._chat,
            parallel_tool_calls=case.parallel,
            **case.request,
            **({"messages": ({"role": "user"},)} if self._chat else {"prompt": "Hi"}),
        )

    def _encoder(self, case: AnswerCase, stream: bool) -> tuple[TextEncoder, list[Any]]:
        request = self._request(case, stream)
        special = {**self._tokenizer.special_tokens, THINK: self._tokenizer.encode(THINK, control_tokens=True)[0]}
        opening = [special[THINK]] if case.opened and not (case.begun or request.tool_choice.forced) else []
        prompt = EngineRequest((special[IM_START], *opening), request.sampling, end_ids=(special[IM_END],))
        encoder = TextEncoder(
            [request], self._tokenizer, skip_special_tokens=True, echo=False, tool_format=case.tool_format
        )
        return encoder, [encoder.open(0, prompt, index) for index in range(len(case.texts))]

    def _chunks(self, case: AnswerCase, draw: random.Random) -> Iterator[tuple[TokenChunk, int]]:
        """What an engine says, in chunks of any size, those of the sequences between each other."""
        said = [list(self._sequence(case, texts, draw, random.Random(case.seed))) for texts in case.texts]
        while any(said):
            index = draw.choice([index for index, chunks in enumerate(said) if chunks])
            yield said[index].pop(0), index

    def _sequence(
        self, case: AnswerCase, texts: list[str], draw: random.Random, drawn: random.Random
    ) -> Iterator[TokenChunk]:
        ids: list[int] = []
        for text in texts:
            ids += (
                [drawn.choice(self._partial)] if text in PARTIAL else self._tokenizer.encode(text, control_tokens=True)
            )
        cut = case.max_tokens is not None and len(ids) >= case.max_tokens
        ids = ids[: case.max_tokens]
        at = 0
        while at < len(ids):
            size = draw.choice((1, 1, 1, 2, 5, len(ids)))
            yield TokenChunk(ids[at : at + size], [-0.5] * len(ids[at : at + size]) if case.logprobs else ())
            at += size
        end = self._tokenizer.special_tokens[IM_END]
        yield TokenChunk(finish="length") if cut else TokenChunk(finish="stop", stop_token=end if case.ends else None)


def _raw(arrays: Any) -> dict[str, bytes]:
    dtypes = {t.name: NUMPY[t.dtype] for t in contract.BLS_OUTPUTS}
    typed: Arrays = {name: array.astype(dtypes[name]) for name, array in arrays.items()}
    return {name: encode_raw(array) for name, array in typed.items()}


def _put_together(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A chat completion as OpenAI's package accumulates it, in the shim's form; call ids, which are random, left out."""
    state = ChatCompletionStreamState()
    reasons: dict[int, Any] = {}
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
        reasons |= {c["index"]: c["stop_reason"] for c in chunk["choices"] if c["finish_reason"]}
    found = state.current_completion_snapshot.model_dump(mode="json")  # the final one refuses an answer that was cut
    for choice in found["choices"]:
        choice["stop_reason"] = reasons[choice["index"]]
    return found


def _joined(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A text completion; OpenAI's package has nothing that accumulates one."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for new in chunk["choices"]:
            old = choices.get(new["index"])
            if old is None:
                choices[new["index"]] = new
                continue
            old["text"] += new["text"]
            old |= {key: new[key] for key in ("finish_reason", "stop_reason") if key in new}
            for key, values in (new["logprobs"] or {}).items():
                kept = old["logprobs"] = old["logprobs"] or {}
                kept[key] = None if values is None else [*(kept.get(key) or ()), *values]
    return {"choices": [choices[index] for index in sorted(choices)], "usage": chunks[-1]["usage"]}


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """What a client gets to see of an answer; ids of calls are random."""
    choices = []
    for choice in answer["choices"]:
        message = choice.get("message")
        shown = {key: choice.get(key) for key in ("index", "text", "logprobs", "finish_reason", "stop_reason")}
        if message is not None:
            shown |= {key: message.get(key) for key in ("role", "content", "reasoning_content")}
            shown["calls"] = [
                (call["type"], call["function"]["name"], call["function"]["arguments"])
                for call in message.get("tool_calls") or ()
            ]
            if logprobs := choice["logprobs"]:
                shown["logprobs"] = [(token["token"], token["logprob"]) for token in logprobs["content"]]
        choices.append(shown)
    details = ("prompt_tokens_details", "completion_tokens_details")
    usage = {key: answer["usage"][key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")}
    usage |= {f"{key}.{n}": v for key in details for n, v in (answer["usage"].get(key) or {}).items() if v is not None}
    return {"choices": choices, "usage": usage}
