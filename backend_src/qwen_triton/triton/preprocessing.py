"""The `preprocessing` model: text or chat messages to token ids, for the ensemble and for clients that only tokenize.

Small prompts are made in `execute`. Requests that arrive together with a long one are answered by response senders, because
this kind of model may use either for a whole batch: the small ones at once, the long ones from the threads of a pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import triton_python_backend_utils as pb

from ..chat.template import ChatTemplate
from ..errors import Unavailable
from ..preprocess import Preprocessor
from ..serving.dispatcher import SHUTTING_DOWN
from ..serving.local.lifeline import Lifeline
from ..serving.request_metrics import RequestMetrics
from ..serving.threads import INLINE_BYTES, PromptPool, prompt_threads
from ..tensors.arrays import Array
from ..tensors.contract import PREPROCESSING
from ..tensors.limits import check_requests
from ..tensors.prompt import decode_prompts, encode_prompts
from ..tensors.rows import each_row
from ..text.token_cache import TokenCache
from ..text.tokenizer import Tokenizer
from .instance import ModelInstance
from .metrics import MetricsPublisher
from .model_process import prepare_process
from .requests import RequestReader, read_limits, read_parameters, read_request_id
from .responses import triton_error
from .settings import TextSettings


class _Sent(NamedTuple):
    """A request: its id, the outputs that it wants, its inputs or what is wrong with them, and their size as it is judged."""

    request_id: str
    wanted: frozenset[str]
    inputs: Mapping[str, Array] | Exception
    size: int


class PreprocessingModel:
    """Tokenizes prompts as the BLS does, without an engine to check them against."""

    def initialize(self, args: Mapping[str, str]) -> None:
        instance = ModelInstance.read(args)
        prepare_process(instance.model)
        settings = TextSettings.read(read_parameters(args), instance.repository)
        self._limits = read_limits(args)
        cache = TokenCache(self._limits.token_cache_bytes)
        self._tokenizer = Tokenizer.from_folder(settings.tokenizer_dir, cache=cache)
        template = ChatTemplate.from_folder(settings.tokenizer_dir, self._tokenizer, settings.tool_format)
        self._preprocessor = Preprocessor(self._tokenizer, template, settings.prompt_format, settings.max_context)
        self._reader = RequestReader(PREPROCESSING, self._limits)
        self._metrics = RequestMetrics()
        self._publisher = MetricsPublisher(instance.labels, self._metrics, cache.states, answers=False)
        self._publisher.start()
        self._draining = False
        self._pool = PromptPool(prompt_threads())
        self._pool.start()
        self._lifeline = Lifeline(PREPROCESSING, self._drain, idle=lambda: self._pool.idle)
        self._lifeline.open()

    def execute(self, requests: Sequence[Any]) -> list[Any] | None:
        sent = [self._read(request) for request in requests]
        if not any(one.size > INLINE_BYTES for one in sent):
            return [self._response(one) for one in sent]
        for request, one in zip(requests, sent, strict=True):
            send = partial(self._send, request.get_response_sender(), one)
            if one.size > INLINE_BYTES:
                self._pool.submit(one.size, send)
            else:
                send()
        return None

    def finalize(self) -> None:
        self._lifeline.leave()
        self._pool.stop()
        self._publisher.stop()

    def _drain(self) -> None:
        """Refuses new requests: those of the ensemble begin here."""
        self._draining = True

    def _read(self, request: Any) -> _Sent:
        wanted, name = frozenset(request.requested_output_names()), read_request_id(request) or ""
        try:
            if self._draining:
                raise Unavailable(SHUTTING_DOWN)
            self._reader.check_envelope(request)
            content = self._reader.read(request)
        except Exception as error:  # an exception that leaves execute fails every request of the batch
            return _Sent(name, wanted, error, 0)
        arrays = content.kept_arrays() if content.size > INLINE_BYTES else content.arrays
        return _Sent(name, wanted, arrays, content.size)

    def _response(self, sent: _Sent) -> Any:
        try:
            if isinstance(sent.inputs, Exception):
                raise sent.inputs
            arrays = self._encode(sent.inputs)
        except Exception as error:
            self._metrics.start().failed(error)
            return pb.InferenceResponse(error=triton_error(error, sent.request_id))
        return pb.InferenceResponse([pb.Tensor(n, a) for n, a in arrays.items() if n in sent.wanted])

    def _send(self, sender: Any, sent: _Sent) -> None:
        sender.send(self._response(sent), flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _encode(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        prompts = decode_prompts(inputs)
        check_requests(prompts, self._limits)
        prompts = each_row(prompts, self._preprocessor.resolve_stops)
        requests = each_row(prompts, lambda prompt: self._preprocessor.engine_requests(prompt)[0])
        return encode_prompts(requests, [p.stop.strings for p in prompts], self._tokenizer.vocab_size)
