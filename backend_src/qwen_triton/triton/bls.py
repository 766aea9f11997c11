"""`tensorrt_llm_bls`: text to text in one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..chat.template import ChatTemplate
from ..engines.process.client import EngineClient
from ..engines.process.socket import engine_address
from ..engines.triton_model.client import ModelClient
from ..engines.triton_model.facts import EngineModelFacts
from ..engines.triton_model.processes import ModelProcesses
from ..engines.triton_model.server_address import grpc_address
from ..errors import QwenTritonError
from ..preprocess import Preprocessor
from ..serving.dispatcher import Line
from ..serving.reply import AnswerCall
from ..serving.request_metrics import Meter
from ..serving.text_answer import TextEncoder
from ..tensors.contract import BLS, BLS_INPUTS
from ..tensors.request_parameters import limit_wait
from ..tensors.text_inputs import decode_generate
from ..text.tokenizer import Tokenizer
from ..types import GenerateRequest
from .metrics import MetricsPublisher
from .model_process import prepare_process, server_pid
from .requests import check_stream, is_decoupled, read_inputs, read_parameters, read_queue_timeout, repository_of
from .responses import TritonResponder
from .settings import BlsSettings, TextSettings


class BlsModel:
    """decode: arrays to requests | run: submit to the engine's line | encode: AnswerCall, on its lane's thread."""

    def initialize(self, args: Mapping[str, str]) -> None:
        prepare_process(BLS)
        parameters, repository = read_parameters(args), repository_of(args)
        text = TextSettings.read(parameters, repository)
        self._decoupled = is_decoupled(args)
        self._settings = BlsSettings.read(parameters, repository)
        self._skip_special_tokens = text.skip_special_tokens
        self._tokenizer = Tokenizer.from_folder(text.tokenizer_dir)
        template = ChatTemplate.from_folder(text.tokenizer_dir, self._tokenizer)
        self._preprocess = Preprocessor(self._tokenizer, template, text.prompt_format, text.max_context)
        self._meter = Meter()
        self._line = Line(self._engine_link(repository), self._settings.max_in_flight)
        self._line.start()
        self._metrics = MetricsPublisher(BLS, self._meter, self._line.states)
        self._metrics.start()

    def _engine_link(self, repository: Path) -> EngineClient | ModelClient:
        model = self._settings.engine_model
        if self._settings.engine_link == "own":
            return EngineClient(engine_address(server_pid(), model))
        facts = EngineModelFacts.read(repository, model, self._preprocess.context(), self._tokenizer.vocab_size)
        processes = ModelProcesses(server_pid(), model) if facts.python else None
        return ModelClient(grpc_address(server_pid()), model, facts, processes)

    def execute(self, requests: Sequence[Any]) -> None:
        for request in requests:
            self._admit(request)

    def finalize(self) -> None:
        self._line.stop()
        self._metrics.stop()

    def _admit(self, request: Any) -> None:
        responder, meter = TritonResponder(request), self._meter.open()
        try:
            asked = [self._with_defaults(r) for r in decode_generate(read_inputs(request, BLS_INPUTS))]
            check_stream(asked[0].stream, self._decoupled, "stream")
            engine = self._line.info()
            rows = [self._preprocess(r, engine) for r in asked]
            encoder = TextEncoder(
                asked, self._tokenizer, skip_special_tokens=self._skip_special_tokens, echo=self._settings.echo
            )
            first = asked[0]
            call = AnswerCall(responder, rows, encoder, meter, streamed=first.stream, keep=first.sampling.n)
            timeout = read_queue_timeout(request, self._settings.queue_timeout_ms)
            self._line.admit(call, limit_wait(call.requests, timeout))
        except QwenTritonError as error:
            failure = error
            meter.failed(failure)
            self._line.post(lambda: responder.fail(failure))

    def _with_defaults(self, request: GenerateRequest) -> GenerateRequest:
        return replace(request, accumulate=self._settings.accumulate) if request.accumulate is None else request
