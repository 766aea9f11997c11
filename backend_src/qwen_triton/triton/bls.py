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
from ..serving.dispatcher import Dispatcher
from ..serving.reply import Reply
from ..serving.request_metrics import RequestMetrics
from ..serving.text_answer import TextEncoder
from ..tensors.contract import BLS, BLS_INPUTS
from ..tensors.request_parameters import limit_wait
from ..tensors.text_inputs import decode_generate
from ..text.tokenizer import Tokenizer
from ..types import GenerateRequest
from .exec_line import ExecLine
from .metrics import MetricsPublisher
from .model_process import prepare_process, server_pid
from .requests import check_stream, is_decoupled, read_inputs, read_parameters, read_queue_timeout, repository_of
from .responses import TritonResponder
from .settings import BlsSettings, TextSettings


class BlsModel:
    """decode: arrays to requests | run: submit to the engine by the dispatcher | encode: Reply, on its sender's thread."""

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
        self._request_metrics = RequestMetrics()
        self._dispatcher = self._open_dispatcher(repository)
        self._dispatcher.start()
        self._metrics = MetricsPublisher(BLS, self._request_metrics, self._dispatcher.states)
        self._metrics.start()

    def _open_dispatcher(self, repository: Path) -> Dispatcher | ExecLine:
        settings, tokenizer = self._settings, self._tokenizer
        if settings.door == "own":
            return Dispatcher(EngineClient(engine_address(server_pid(), settings.engine_model)), settings.max_in_flight)
        context = self._preprocess.context()
        facts = EngineModelFacts.read(repository, settings.engine_model, context, tokenizer.vocab_size)
        if settings.door == "grpc":
            processes = ModelProcesses(server_pid(), settings.engine_model) if facts.python else None
            client = ModelClient(grpc_address(server_pid()), settings.engine_model, facts, processes)
            return Dispatcher(client, settings.max_in_flight)
        return ExecLine(settings.engine_model, facts, settings.max_in_flight)

    def execute(self, requests: Sequence[Any]) -> None:
        for request in requests:
            self._admit(request)

    def finalize(self) -> None:
        self._dispatcher.stop()
        self._metrics.stop()

    def _admit(self, request: Any) -> None:
        responder, timer = TritonResponder(request), self._request_metrics.start()
        try:
            asked = [self._with_defaults(r) for r in decode_generate(read_inputs(request, BLS_INPUTS))]
            check_stream(asked[0].stream, self._decoupled, "stream")
            engine = self._dispatcher.info()
            rows = [self._preprocess(r, engine) for r in asked]
            encoder = TextEncoder(
                asked, self._tokenizer, skip_special_tokens=self._skip_special_tokens, echo=self._settings.echo
            )
            first = asked[0]
            reply = Reply(responder, rows, encoder, timer, streamed=first.stream, keep=first.sampling.n)
            timeout = read_queue_timeout(request, self._settings.queue_timeout_ms)
            self._dispatcher.admit(reply, limit_wait(reply.requests, timeout))
        except QwenTritonError as error:
            failure = error
            timer.failed(failure)
            self._dispatcher.post(lambda: responder.fail(failure))

    def _with_defaults(self, request: GenerateRequest) -> GenerateRequest:
        return replace(request, accumulate=self._settings.accumulate) if request.accumulate is None else request
