"""The `postprocessing` model: token ids to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import triton_python_backend_utils as pb

from ..engines.process.loads import find_loads
from ..ensemble.ack_socket import AckSender
from ..ensemble.ack_tag import read_tag
from ..ensemble.postprocess import Postprocessor
from ..serving.local.lifeline import Lifeline
from ..serving.request_metrics import RequestMetrics
from ..tensors.contract import (
    POST_OUTPUT,
    POST_SEQUENCE_LENGTH,
    POST_TOKENS_BATCH,
    POSTPROCESSING,
)
from ..text.tokenizer import Tokenizer
from .instance import ModelInstance
from .metrics import MetricsPublisher
from .model_process import prepare_process
from .requests import RequestReader, read_limits, read_parameters, read_request_id
from .responses import triton_error
from .settings import TextSettings


class PostprocessingModel:
    """Decodes chunks, and acknowledges them to the engine model, which so detects clients that have disconnected."""

    def initialize(self, args: Mapping[str, str]) -> None:
        instance = ModelInstance.read(args)
        prepare_process(instance.model)
        settings = TextSettings.read(read_parameters(args), instance.repository)
        self._postprocessor = Postprocessor(Tokenizer.from_folder(settings.tokenizer_dir), settings.skip_special_tokens)
        self._reader = RequestReader(POSTPROCESSING, read_limits(args))
        self._acks = AckSender(partial(find_loads, instance.server), f"{instance.repository}/{instance.model}")
        self._metrics = RequestMetrics()
        self._publisher = MetricsPublisher(instance.labels, self._metrics, dict, answers=False)
        self._acks.start()
        self._publisher.start()
        self._lifeline = Lifeline(POSTPROCESSING, drain=lambda: None, idle=lambda: True)  # execute returns the answers
        self._lifeline.open()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        with self._acks.working():
            return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        self._lifeline.leave()
        self._acks.stop()
        self._publisher.stop()

    def _respond(self, request: Any) -> Any:
        try:
            self._reader.check_envelope(request)
            inputs, _, request_id, _ = self._reader.read(request)
            if tag := read_tag(inputs[POST_TOKENS_BATCH]):
                self._acks.add(tag)
            text = self._postprocessor.decode(inputs[POST_TOKENS_BATCH], inputs[POST_SEQUENCE_LENGTH], request_id)
        except Exception as error:  # an exception that leaves execute fails every request of the batch
            self._metrics.start().failed(error)
            return pb.InferenceResponse(error=triton_error(error, read_request_id(request) or ""))
        return pb.InferenceResponse([pb.Tensor(POST_OUTPUT, text)])
