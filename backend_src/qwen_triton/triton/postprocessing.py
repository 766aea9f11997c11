"""The `postprocessing` model: token ids to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import triton_python_backend_utils as pb

from ..engines.process.socket import engine_address
from ..ensemble.ack_socket import AckSender, acks_address
from ..ensemble.ack_tag import read_tag
from ..ensemble.postprocess import Postprocessor
from ..serving.lifeline import Lifeline
from ..tensors.contract import (
    POST_OUTPUT,
    POST_SEQUENCE_LENGTH,
    POST_TOKENS_BATCH,
    POSTPROCESSING,
    POSTPROCESSING_INPUTS,
    TENSORRT_LLM,
)
from ..text.tokenizer import Tokenizer
from .model_process import prepare_process, server_pid
from .requests import RequestReader, read_limits, read_parameters, repository_of
from .responses import triton_error
from .settings import TextSettings


class PostprocessingModel:
    """Decodes chunks, and acknowledges them to the engine model, which so detects clients that have disconnected."""

    def initialize(self, args: Mapping[str, str]) -> None:
        prepare_process(POSTPROCESSING)
        settings = TextSettings.read(read_parameters(args), repository_of(args))
        self._postprocessor = Postprocessor(Tokenizer.from_folder(settings.tokenizer_dir), settings.skip_special_tokens)
        self._reader = RequestReader(POSTPROCESSING_INPUTS, read_limits(args))
        self._acks = AckSender(acks_address(engine_address(server_pid(), TENSORRT_LLM)))
        self._acks.start()
        self._lifeline = Lifeline(POSTPROCESSING, drain=lambda: None, idle=lambda: True)  # execute returns the answers
        self._lifeline.open()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        with self._acks.working():
            return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        self._lifeline.leave()
        self._acks.stop()

    def _respond(self, request: Any) -> Any:
        try:
            self._reader.check_envelope(request)
            inputs = self._reader.read(request).arrays
            if tag := read_tag(inputs[POST_TOKENS_BATCH]):
                self._acks.add(*tag)
            text = self._postprocessor.decode(
                inputs[POST_TOKENS_BATCH], inputs[POST_SEQUENCE_LENGTH], request.request_id()
            )
        except Exception as error:  # an exception that leaves execute fails every request of the batch
            return pb.InferenceResponse(error=triton_error(error, request.request_id()))
        return pb.InferenceResponse([pb.Tensor(POST_OUTPUT, text)])
