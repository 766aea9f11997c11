"""The `tensorrt_llm_bls` model: text to text in one model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..chat.template import ChatTemplate
from ..engines.process.client import EngineClient
from ..engines.triton_model.client import ModelClient
from ..engines.triton_model.facts import EngineModelFacts
from ..engines.triton_model.processes import ModelProcesses
from ..engines.triton_model.server_address import grpc_address
from ..preprocess import Preprocessor
from ..serving.dispatcher import Dispatcher
from ..serving.local.connection import LocalConnection, LocalResponder
from ..serving.local.lifeline import Lifeline
from ..serving.local.messages import SentRequest
from ..serving.local.request import LocalRequest
from ..serving.local.server import LocalServer
from ..serving.reply import RowPlan
from ..serving.request_metrics import RequestMetrics
from ..serving.send_rate import SendRate
from ..serving.text_answer import TextEncoder
from ..tensors.arrays import Array
from ..tensors.contract import BLS, BLS_INPUTS
from ..tensors.limits import check_prompt_log_probs, check_requests
from ..tensors.rows import each_row
from ..tensors.text_inputs import decode_generate
from ..text.token_cache import TokenCache
from ..text.tokenizer import Tokenizer
from ..types import GenerateRequest
from .admission import Admission, DecodedRequest
from .instance import ModelInstance
from .metrics import MetricsPublisher
from .model_process import StuckServerWatch, prepare_process, server_pid
from .requests import instances_of, is_decoupled, read_limits, read_parameters
from .responses import TritonResponder
from .settings import BlsSettings, TextSettings

_log = logging.getLogger(__name__)
_DECLARED = {tensor.name: tensor for tensor in BLS_INPUTS}


class BlsModel:
    """Tokenizes prompts, submits them to the engine, and streams text. Responses are sent by the dispatcher's threads."""

    def initialize(self, args: Mapping[str, str]) -> None:
        instance = ModelInstance.read(args)
        prepare_process(instance.model)
        parameters, repository = read_parameters(args), instance.repository
        text = TextSettings.read(parameters, repository)
        self._settings = BlsSettings.read(parameters, repository)
        self._skip_special_tokens = text.skip_special_tokens
        self._limits = read_limits(args)
        cache = TokenCache(self._limits.token_cache_bytes)
        self._tokenizer = Tokenizer.from_folder(text.tokenizer_dir, cache=cache)
        self._tokenizer.prepare_decoding(text.skip_special_tokens)
        template = ChatTemplate.from_folder(text.tokenizer_dir, self._tokenizer, text.tool_format)
        self._tool_format = template.tool_format.name if template.tool_format else ""
        self._preprocessor = Preprocessor(
            self._tokenizer, template, text.prompt_format, text.max_context, self._limits.form_bounds()
        )
        if fault := self._preprocessor.context_fault:
            _log.warning("max_context: %s", fault)
        self._serve(instance, args, cache)

    def _serve(self, instance: ModelInstance, args: Mapping[str, str], cache: TokenCache) -> None:
        rate = SendRate(most_per_s=self._settings.max_responses_per_s, processes=instances_of(args))
        self._dispatcher = Dispatcher(self._engine_link(instance), self._settings.max_in_flight, rate)
        metrics = RequestMetrics()
        self._local_address = instance.new_local_address()
        self._local = LocalServer(
            self._local_address.socket,
            instances_of(args),
            self._admit_local,
            lambda call: self._dispatcher.cancel(call=call),
            self._dispatcher.disconnected,
        )
        self._admission = Admission(
            self._dispatcher,
            metrics,
            BLS,
            self._settings.queue_timeout_ms,
            is_decoupled(args),
            self._limits,
            local_sockets=self._local_address.all,
        )
        self._publisher = MetricsPublisher(instance.labels, metrics, lambda: self._dispatcher.states() | cache.states())
        self._dispatcher.start()
        self._publisher.start()
        self._local.start()
        self._local_address.publish()
        self._lifeline = Lifeline(BLS, self._dispatcher.drain, self._dispatcher.idle)
        self._lifeline.open()
        self._stuck = StuckServerWatch(self._dispatcher.batches, self._lifeline.is_open)
        self._stuck.start()

    def execute(self, requests: Sequence[Any]) -> None:
        with self._dispatcher.gathering():
            for request in requests:
                self._admission.admit(request, TritonResponder(request), self._decode)

    def _admit_local(self, requests: Sequence[tuple[LocalConnection, SentRequest]]) -> None:
        with self._dispatcher.gathering():
            for connection, sent in requests:
                request = LocalRequest(sent, _DECLARED)
                responder = LocalResponder(connection, sent.number, sent.request_id, sent.outputs)
                self._admission.admit(request, responder, self._decode)

    def finalize(self) -> None:
        self._lifeline.leave()
        self._local_address.withdraw()
        self._local.leave(self._dispatcher.idle)
        self._dispatcher.stop()
        self._stuck.stop()
        self._local.stop()
        self._local_address.remove()
        self._publisher.stop()

    def _engine_link(self, instance: ModelInstance) -> EngineClient | ModelClient:
        model = self._settings.engine_model
        if self._settings.engine_link == "own":
            return EngineClient(instance.locate_engine(model))
        facts = EngineModelFacts.read(
            instance.repository, model, self._preprocessor.context(), self._tokenizer.vocab_size
        )
        processes = ModelProcesses(server_pid(), instance.repository / model) if facts.python else None
        return ModelClient(grpc_address(server_pid()), model, facts, processes)

    def _decode(self, arrays: dict[str, Array]) -> DecodedRequest:
        prompts = [self._with_defaults(prompt) for prompt in decode_generate(arrays)]
        check_requests(prompts, self._limits)
        prompts = each_row(prompts, self._preprocessor.resolve_stops)
        engine = self._dispatcher.info()
        requests = each_row(prompts, partial(self._preprocessor.engine_requests, engine=engine))
        check_prompt_log_probs([sequences[0] for sequences in requests], self._limits)
        rows = [
            RowPlan(sequences, prompt.stream, prompt.sampling.n)
            for sequences, prompt in zip(requests, prompts, strict=True)
        ]
        encoder = TextEncoder(
            prompts,
            self._tokenizer,
            skip_special_tokens=self._skip_special_tokens,
            echo=self._settings.echo,
            tool_format=self._tool_format,
        )
        return DecodedRequest(rows, encoder)

    def _with_defaults(self, request: GenerateRequest) -> GenerateRequest:
        if request.accumulate is not None or not self._settings.accumulate:
            return request
        return replace(request, accumulate=True)
