"""`tensorrt_llm` with backend «python»: token ids to token ids, by an engine of ours in a process of its own."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..engines.capabilities import check_honoured
from ..engines.engine import EngineInfo
from ..engines.process.client import EngineClient, read_counters
from ..engines.process.socket import engine_address
from ..engines.process.supervisor import EngineSupervisor
from ..ensemble.ack_ledger import Ledger
from ..ensemble.ack_socket import ReceiptListener, receipts_address
from ..errors import ConfigurationError, EngineError, InvalidRequest, QwenTritonError
from ..model_config import sibling_parameter
from ..preprocess import split_sequences
from ..serving.dispatcher import Dispatcher
from ..serving.reply import Reply
from ..serving.request_metrics import RequestMetrics
from ..serving.token_answer import TokenEncoder, spell_stops
from ..tensors.contract import ENGINE_INPUTS, TENSORRT_LLM
from ..tensors.engine_inputs import EngineRow, decode_engine, is_streamed, wants_stop
from ..tensors.request_parameters import limit_wait
from ..text.tokenizer import Tokenizer
from ..types import EngineRequest
from .metrics import MetricsPublisher
from .model_process import prepare_process, server_pid
from .requests import check_stream, is_decoupled, read_inputs, read_parameters, read_queue_timeout, repository_of
from .responses import WatchedResponder

_log = logging.getLogger(__name__)


class EngineModel:
    """Starts and supervises the engine, and is one of its clients (the BLS is another, by a door of its own)."""

    def initialize(self, args: Mapping[str, str]) -> None:
        prepare_process(TENSORRT_LLM)
        parameters = read_parameters(args)
        options = parameters.json_object("engine_options")
        if options is None:
            raise ConfigurationError(
                "tensorrt_llm/config.pbtxt: engine_options is not filled; `qwen-triton render` fills it for a python engine"
            )
        folder = parameters.text("tokenizer_dir") or sibling_parameter(
            repository_of(args), "preprocessing", "tokenizer_dir"
        )
        self._tokenizer = Tokenizer.from_folder(folder) if folder else None
        self._decoupled = is_decoupled(args)
        self._queue_timeout_ms = parameters.number("queue_timeout_ms") or 0
        self._echo = not parameters.flag("exclude_input_in_output", True)
        address = engine_address(server_pid(), args["model_name"])
        self._supervisor = EngineSupervisor(options, address, server_pid())
        info = self._supervisor.start()
        _log.info("engine %s is ready: context %d, vocabulary %d", info.name, info.max_context, info.vocab_size)
        self._request_metrics = RequestMetrics()
        self._dispatcher = Dispatcher(EngineClient(address), parameters.number("max_in_flight") or 0)
        self._dispatcher.start()
        self._address = address
        self._ledger = Ledger()
        self._receipts = ReceiptListener(self._ledger, receipts_address(address))
        self._receipts.start()
        self._metrics = MetricsPublisher(TENSORRT_LLM, self._request_metrics, self._states)
        self._metrics.start()

    def execute(self, requests: Sequence[Any]) -> None:
        for request in requests:
            self._admit(request)

    def finalize(self) -> None:
        self._dispatcher.stop()
        self._receipts.stop()
        self._metrics.stop()
        self._supervisor.stop()

    def _states(self) -> dict[str, float]:
        """The engine's own state, for all of its clients; nothing while it is being restarted."""
        with contextlib.suppress(EngineError):
            counters = read_counters(self._address)
            return {
                "requests_running": counters["running"],
                "requests_waiting": counters["waiting"],
                "queue_seconds_sum": counters["queue_s"],
                "queue_seconds_count": counters["started"],
                "engine_tokens_total": counters["tokens"],
                "kv_cache_usage": counters["extra"].get("kv_cache_usage", 0.0),
            }
        return {}

    def _admit(self, request: Any) -> None:
        responder, timer = WatchedResponder(request, self._ledger), self._request_metrics.start()
        try:
            arrays = read_inputs(request, ENGINE_INPUTS)
            if wants_stop(arrays):
                self._stop(responder)
                return
            check_stream(is_streamed(arrays), self._decoupled, "stream")
            engine = self._dispatcher.info()
            rows = [spell_stops(row, self._tokenizer) for row in decode_engine(arrays, echo=self._echo)]
            sequences = [self._sequences(row, engine) for row in rows]
            if is_streamed(arrays) and rows[0].for_text:
                responder.watch()
            reply = Reply(
                responder,
                sequences,
                TokenEncoder(rows, self._tokenizer),
                timer,
                streamed=is_streamed(arrays),
                keep=rows[0].request.sampling.n,
            )
            self._dispatcher.admit(
                reply, limit_wait(reply.requests, read_queue_timeout(request, self._queue_timeout_ms))
            )
        except QwenTritonError as error:
            failure = error
            timer.failed(failure)
            self._dispatcher.post(lambda: responder.fail(failure))

    def _sequences(self, row: EngineRow, engine: EngineInfo) -> tuple[EngineRequest, ...]:
        check_honoured(engine.name, row.request)
        total = len(row.request.token_ids) + (row.request.sampling.max_tokens or 0)
        if total > engine.max_context:
            reason = f"prompt and answer would have {total} tokens, the context is {engine.max_context}"
            raise InvalidRequest(reason, "request_output_len")
        return split_sequences(row.request)

    def _stop(self, responder: WatchedResponder) -> None:
        """Stock's way to cancel: the running request of the same id ends as «cancelled», this one without a response."""
        if not responder.request_id:
            raise InvalidRequest("needs the request id of the request to be stopped", "stop")
        self._dispatcher.cancel(responder.request_id)
        self._dispatcher.post(responder.finish)
