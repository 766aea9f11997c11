"""A session with Triton: texts and chats in, answers out.

    with Session("localhost:8001") as session:
        print(session.generate("你好", max_tokens=50).text)
        with session.stream("Tell me a story") as answer:
            for text in answer:
                print(text, end="", flush=True)
        print(answer.result.finish_reason, answer.result.usage)

Works against tensorrt_llm_bls and ensemble of our repository and, for generate and stream, of stock's: what a model
cannot take is refused with the parameter's name. Threads may share a session.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from qwen_triton.chat.tool_choice import check_tool_choice
from qwen_triton.errors import ConfigurationError, InvalidRequest, Unavailable
from qwen_triton.kserve.declared_model import DeclaredModel
from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM
from qwen_triton.tensors.text_inputs import encode_generate
from qwen_triton.tensors.text_outputs import wanted_text_outputs
from qwen_triton.types import GenerateRequest, ToolChoice

from .chat_answer import ChatAnswer, ChatResult
from .parameters import build_request
from .text_answer import TextAnswer, TextResult
from .transport.ensemble import EnsembleResponses
from .transport.grpc import GrpcTransport
from .transport.http import HttpTransport
from .transport.model_inputs import fit_arrays, wanted_outputs
from .transport.transport import ResponseStream, Transport

DEFAULT_URL = "localhost:8001"


def open_transport(url: str) -> Transport:
    """gRPC for HOST:PORT, grpc:// and grpcs://; HTTP for http:// and https://. Raises ConfigurationError for others."""
    scheme, _, rest = url.rpartition("://")
    if scheme in ("http", "https"):
        return HttpTransport(url)
    if scheme not in ("", "grpc", "grpcs") or ":" not in rest:
        raise ConfigurationError(f"{url}: expected HOST:PORT for gRPC, or http://HOST:PORT")
    return GrpcTransport(rest.rstrip("/"), secure=scheme == "grpcs")


class Session:
    """A connection to one model; `model` None = tensorrt_llm_bls where it is ready, else ensemble."""

    def __init__(self, url: str = DEFAULT_URL, model: str | None = None) -> None:
        self._transport = open_transport(url)
        self._model_name = model
        self._model: DeclaredModel | None = None

    @property
    def model(self) -> DeclaredModel:
        """What the model declares; asked once. Raises Unavailable when nobody answers or no such model is ready."""
        if self._model is None:
            self._model = self._transport.describe(self._model_name or self._find_model())
        return self._model

    def generate(self, prompt: str | Sequence[int], **parameters: Any) -> TextResult:
        """One text for a text, or for token ids. `parameters`: names of qwen_triton_client.parameters."""
        return self.generate_all(prompt, **parameters)[0]

    def generate_all(self, prompt: str | Sequence[int], **parameters: Any) -> list[TextResult]:
        """All `n` texts."""
        return self.send(build_request(parameters, **_prompt(prompt))).finish()

    def stream(self, prompt: str | Sequence[int], **parameters: Any) -> TextAnswer:
        """The same, as it is generated."""
        return self.send(build_request(parameters, stream=True, **_prompt(prompt)))

    def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> ChatResult:
        """The answer to a conversation; `options` as for stream_chat."""
        with self._chat(messages, stream=False, **options) as answer:
            return answer.finish()

    def stream_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> ChatAnswer:
        """The answer to a conversation as it is generated; `tools` as OpenAI writes them, parameters as for generate.

        `tool_choice`: "auto", "none", "required", or a function as OpenAI's API names it.
        `thinking_opened`: the chat template opens the thinking itself, as those of Qwen's thinking-only models do; our
        BLS tells when it is so, other models do not.
        """
        return self._chat(messages, stream=True, **options)

    def _chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: bool,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
        thinking_opened: bool = False,
        **parameters: Any,
    ) -> ChatAnswer:
        if parameters.get("n") not in (None, 1):
            raise InvalidRequest("a chat has one answer; use generate_all or several chats", "n")
        choice = ToolChoice.read(tool_choice)
        check_tool_choice(choice, tools)
        request = build_request(
            parameters, messages=tuple(messages), tools=tuple(tools), tool_choice=choice, stream=stream
        )
        return ChatAnswer(self.send(request), request, thinking_opened=thinking_opened)

    def send(self, request: GenerateRequest, request_id: str = "") -> TextAnswer:
        """Any request. Raises InvalidRequest for what the model cannot take; the server's errors come while iterating."""
        model = self.model
        arrays = fit_arrays(encode_generate(request), model)
        sampling = request.sampling
        outputs = wanted_outputs(wanted_text_outputs(request), model)
        several = request.stream or (sampling.n > 1 and model.decoupled)  # whole answers are a response each
        request_id = request_id or uuid.uuid4().hex
        responses: ResponseStream = self._transport.send(model, arrays, outputs, request_id, several)
        if TENSORRT_LLM in model.steps:
            responses = EnsembleResponses(responses, self._transport, request_id)
        return TextAnswer(responses, max(sampling.n, sampling.beam_width), bool(request.accumulate) and request.stream)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find_model(self) -> str:
        for name in (BLS, ENSEMBLE):
            if self._transport.ready(name):
                return name
        raise Unavailable(f"neither {BLS} nor {ENSEMBLE} is ready there; name the model")


def _prompt(prompt: str | Sequence[int]) -> dict[str, Any]:
    return {"prompt": prompt} if isinstance(prompt, str) else {"token_ids": tuple(prompt)}
