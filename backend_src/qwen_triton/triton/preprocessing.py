"""The `preprocessing` model: text or chat messages to token ids, for the ensemble and for clients that only tokenize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import triton_python_backend_utils as pb

from ..chat.template import ChatTemplate
from ..errors import Unavailable
from ..preprocess import Preprocessor
from ..serving.dispatcher import SHUTTING_DOWN
from ..serving.lifeline import Lifeline
from ..serving.request_metrics import RequestMetrics
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


class PreprocessingModel:
    """Tokenizes prompts as the BLS does, without an engine to check them against."""

    def initialize(self, args: Mapping[str, str]) -> None:
        instance = ModelInstance.read(args)
        prepare_process(instance.model)
        settings = TextSettings.read(read_parameters(args), instance.repository)
        self._limits = read_limits(args)
        cache = TokenCache(self._limits.token_cache_bytes)
        self._tokenizer = Tokenizer.from_folder(settings.tokenizer_dir, cache)
        template = ChatTemplate.from_folder(settings.tokenizer_dir, self._tokenizer, settings.tool_format)
        self._preprocessor = Preprocessor(self._tokenizer, template, settings.prompt_format, settings.max_context)
        self._reader = RequestReader(PREPROCESSING, self._limits)
        self._metrics = RequestMetrics()
        self._publisher = MetricsPublisher(instance.labels, self._metrics, cache.states, answers=False)
        self._publisher.start()
        self._draining = False
        self._lifeline = Lifeline(PREPROCESSING, self._drain, idle=lambda: True)  # execute returns the answers
        self._lifeline.open()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        self._lifeline.leave()
        self._publisher.stop()

    def _drain(self) -> None:
        """Refuses new requests: those of the ensemble begin here."""
        self._draining = True

    def _respond(self, request: Any) -> Any:
        try:
            if self._draining:
                raise Unavailable(SHUTTING_DOWN)
            self._reader.check_envelope(request)
            arrays = self._encode(self._reader.read(request).arrays)
        except Exception as error:  # an exception that leaves execute fails every request of the batch
            self._metrics.start().failed(error)
            return pb.InferenceResponse(error=triton_error(error, read_request_id(request) or ""))
        wanted = request.requested_output_names()
        return pb.InferenceResponse([pb.Tensor(n, a) for n, a in arrays.items() if n in wanted])

    def _encode(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        prompts = decode_prompts(inputs)
        check_requests(prompts, self._limits)
        prompts = each_row(prompts, self._preprocessor.resolve_stops)
        requests = each_row(prompts, lambda prompt: self._preprocessor.engine_requests(prompt)[0])
        return encode_prompts(requests, [p.stop.strings for p in prompts], self._tokenizer.vocab_size)
