"""The `tensorrt_llm` model of backend «python»: token ids to token ids, by an engine of this project.

The engine runs in a process of its own, which this model starts, watches and starts again if it dies. Each load of the
model has an engine of its own: while the model is reloaded, the old one finishes what it has.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..engines.capabilities import FormGrammars, check_request
from ..engines.engine import EngineInfo
from ..engines.process.client import EngineClient, read_counters
from ..engines.process.supervisor import EngineSupervisor
from ..ensemble.ack_ledger import AckLedger
from ..ensemble.ack_socket import AckListener
from ..ensemble.tagged_answer import TaggedTokenEncoder
from ..errors import ConfigurationError, EngineError, InvalidRequest
from ..model_config import Parameters, sibling_parameter
from ..preprocess import chunk_tokens, split_sequences
from ..serving.dispatcher import Dispatcher
from ..serving.local.lifeline import Lifeline
from ..serving.reply import RowPlan
from ..serving.request_metrics import RequestMetrics
from ..serving.send_rate import ENSEMBLE_MIN_PER_CPU, SendRate
from ..serving.token_answer import TokenEncoder, resolve_stops
from ..tensors.arrays import Array
from ..tensors.contract import NUM_RETURN_SEQUENCES, REQUEST_OUTPUT_LEN, STOP, TENSORRT_LLM
from ..tensors.engine_inputs import EngineRow, decode_engine
from ..tensors.limits import check_prompt_log_probs
from ..tensors.rows import each_row
from ..text.tokenizer import Tokenizer
from ..types import EngineRequest
from .admission import NO_ID, Admission, DecodedRequest
from .instance import ModelInstance
from .metrics import MetricsPublisher
from .model_process import StuckServerWatch, prepare_process, server_pid
from .requests import asks_stop, is_decoupled, read_limits, read_parameters
from .responses import AckedResponder
from .settings import EngineSettings

_log = logging.getLogger(__name__)
_EXTRA = {
    "prefix_cache_queries": "prefix_cache_queries_total",
    "prefix_cache_hits": "prefix_cache_hits_total",
    "preemptions": "preemptions_total",
    "prompt_steps": "prompt_steps_total",
}
"""Counters of some engines and the metric of each."""
_CACHED_WORDS = 256
"""This model encodes pieces of answers only, and on several threads, of which each has a cache of its own."""


class EngineModel:
    """Owns the engine's process, and is one of its clients; the BLS is another, over a connection of its own."""

    def initialize(self, args: Mapping[str, str]) -> None:
        instance = ModelInstance.read(args)
        prepare_process(instance.model)
        parameters = read_parameters(args)
        folder = parameters.text("tokenizer_dir") or sibling_parameter(
            instance.repository, "preprocessing", "tokenizer_dir"
        )
        self._tokenizer = Tokenizer.from_folder(folder, _CACHED_WORDS) if folder else None
        settings = EngineSettings.read(parameters)
        self._echo = settings.echo
        self._limits = read_limits(args)
        self._forms = FormGrammars(self._tokenizer, self._limits.form_bounds())
        options = _engine_options(parameters)
        _check_one_instance(args)
        self._own = instance.new_load()
        try:
            self._supervisor = self._start_engine(options)
            self._serve(instance, settings, is_decoupled(args))
        except BaseException:
            self._own.remove()
            raise

    def _serve(self, instance: ModelInstance, settings: EngineSettings, decoupled: bool) -> None:
        address = self._own.load.engine_socket
        rate = SendRate(least_per_cpu=ENSEMBLE_MIN_PER_CPU)
        self._dispatcher = Dispatcher(EngineClient(lambda: address), settings.max_in_flight, rate)
        self._ledger = AckLedger()
        self._acks = AckListener(self._ledger, self._own.load.acks_socket)
        metrics = RequestMetrics()
        self._admission = Admission(
            self._dispatcher,
            metrics,
            TENSORRT_LLM,
            settings.queue_timeout_ms,
            decoupled,
            self._limits,
            unique_ids=True,
        )
        self._publisher = MetricsPublisher(instance.labels, metrics, self._states)
        self._dispatcher.start()
        self._acks.start()
        self._publisher.start()
        self._own.publish()
        self._lifeline = Lifeline(TENSORRT_LLM, self._dispatcher.drain, self._dispatcher.idle)
        self._lifeline.open()
        self._stuck = StuckServerWatch(self._dispatcher.batches, self._lifeline.is_open)
        self._stuck.start()

    def execute(self, requests: Sequence[Any]) -> None:
        with self._dispatcher.gathering():
            for request in requests:
                responder = AckedResponder(request, self._ledger)
                if asks_stop(request):
                    self._stop(responder)
                    continue
                self._admission.admit(request, responder, partial(self._decode, responder))

    def finalize(self) -> None:
        """Ends this load's own engine, once it has finished what other models gave it."""
        self._lifeline.leave()
        self._own.withdraw()
        self._dispatcher.stop()
        self._stuck.stop()
        self._acks.stop()
        self._supervisor.stop()
        self._publisher.stop()
        self._own.remove()

    def _start_engine(self, options: dict[str, Any]) -> EngineSupervisor:
        supervisor = EngineSupervisor(options, self._own, server_pid())
        info = supervisor.start()
        _log.info("engine %s is ready: context %d, vocabulary %d", info.name, info.max_context, info.vocab_size)
        return supervisor

    def _states(self) -> dict[str, float]:
        """The engine's own state, for all of its clients, with what only some engines have; nothing while it is restarted."""
        with contextlib.suppress(EngineError):
            counters = read_counters(self._own.load.engine_socket)
            extra = {family: counters["extra"][name] for name, family in _EXTRA.items() if name in counters["extra"]}
            return extra | {
                "requests_running": counters["running"],
                "requests_waiting": counters["waiting"],
                "queue_seconds_sum": counters["queue_s"],
                "queue_seconds_count": counters["started"],
                "engine_tokens_total": counters["tokens"],
                "engine_steps_total": counters["steps"],
                "engine_step_sequences_total": counters["batched"],
                "successor_seconds_sum": counters["successor_s"],
                "successor_seconds_count": counters["successors"],
                "kv_cache_usage": counters["extra"].get("kv_cache_usage", 0.0),
            }
        return {}

    def _decode(self, responder: AckedResponder, arrays: dict[str, Array]) -> DecodedRequest:
        engine = self._dispatcher.info()
        decoded = decode_engine(arrays, echo=self._echo)
        sequences = sum(max(row.request.sampling.sequences, row.request.sampling.beam_width) for row in decoded)
        self._limits.check("sequences", sequences, NUM_RETURN_SEQUENCES)
        rows = each_row(decoded, partial(resolve_stops, tokenizer=self._tokenizer))
        requests = each_row(rows, partial(self._sequences, engine=engine))
        check_prompt_log_probs([sequences[0] for sequences in requests], self._limits)
        plans = [
            RowPlan(sequences, row.request.stream, row.request.sampling.n)
            for sequences, row in zip(requests, rows, strict=True)
        ]
        streamed_text = any(row.request.stream and row.for_text for row in rows)
        number = responder.track() if streamed_text else None
        return DecodedRequest(plans, self._encoder(rows, number))

    def _encoder(self, rows: Sequence[EngineRow], request_number: int | None) -> TokenEncoder:
        if request_number is None:
            return TokenEncoder(rows, self._tokenizer)
        return TaggedTokenEncoder(rows, self._tokenizer, self._ledger, self._own.load.number, request_number)

    def _sequences(self, row: EngineRow, engine: EngineInfo) -> tuple[EngineRequest, ...]:
        request = row.request
        check_request(engine, request)
        grammar = self._forms.grammar(row.form, request, engine)
        total = len(row.request.token_ids) + (row.request.sampling.max_tokens or 0)
        if total > engine.max_context:
            reason = f"prompt and answer would have {total} tokens, the context is {engine.max_context}"
            raise InvalidRequest(reason, REQUEST_OUTPUT_LEN)
        fewest = chunk_tokens(request.stream, watched=bool(row.stop.strings))
        return split_sequences(replace(request, grammar=grammar, chunk_tokens=fewest))

    def _stop(self, responder: AckedResponder) -> None:
        """Stops as stock does: the running request of the same id ends as «cancelled», the stop itself has no outputs."""
        if responder.request_id in NO_ID:
            error = InvalidRequest("needs the request id of the request to be stopped", STOP)
            self._dispatcher.post(partial(responder.fail, error))
            return
        self._dispatcher.cancel(responder.request_id)
        self._dispatcher.post(responder.acknowledge)


def _check_one_instance(args: Mapping[str, str]) -> None:
    groups = json.loads(args["model_config"]).get("instance_group", [])
    count = sum(group.get("count", 1) * max(1, len(group.get("gpus", []))) for group in groups)
    if count > 1:
        raise ConfigurationError(
            f"{args['model_name']}/config.pbtxt: instance_group has {count} instances; give it count 1, because one engine "
            "serves all requests together"
        )


def _engine_options(parameters: Parameters) -> dict[str, Any]:
    options = parameters.json_object("engine_options")
    if options is None:
        raise parameters.error("engine_options", "is not filled; `qwen-triton render` fills it for a python engine")
    return options
