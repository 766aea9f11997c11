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
from ..tensors.arrays import Array
from ..tensors.contract import PREPROCESSING, PREPROCESSING_INPUTS
from ..tensors.limits import check_requests
from ..tensors.prompt import decode_prompts, encode_prompts
from ..text.tokenizer import Tokenizer
from .model_process import prepare_process
from .requests import RequestReader, read_limits, read_parameters, repository_of
from .responses import triton_error
from .settings import TextSettings


class PreprocessingModel:
    """Tokenizes prompts as the BLS does, without an engine to check them against."""

    def initialize(self, args: Mapping[str, str]) -> None:
        prepare_process(args["model_name"])
        settings = TextSettings.read(read_parameters(args), repository_of(args))
        self._tokenizer = Tokenizer.from_folder(settings.tokenizer_dir)
        template = ChatTemplate.from_folder(settings.tokenizer_dir, self._tokenizer)
        self._preprocessor = Preprocessor(self._tokenizer, template, settings.prompt_format, settings.max_context)
        self._limits = read_limits(args)
        self._reader = RequestReader(PREPROCESSING_INPUTS, self._limits)
        self._draining = False
        self._lifeline = Lifeline(PREPROCESSING, self._drain, idle=lambda: True)  # execute returns the answers
        self._lifeline.open()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        self._lifeline.leave()

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
            return pb.InferenceResponse(error=triton_error(error, request.request_id()))
        wanted = request.requested_output_names()
        return pb.InferenceResponse([pb.Tensor(n, a) for n, a in arrays.items() if n in wanted])

    def _encode(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        prompts = decode_prompts(inputs)
        check_requests(prompts, self._limits)
        prompts = [self._preprocessor.resolve_stops(prompt) for prompt in prompts]
        requests = [self._preprocessor.engine_requests(prompt)[0] for prompt in prompts]
        return encode_prompts(requests, [p.stop.strings for p in prompts], self._tokenizer.vocab_size)
