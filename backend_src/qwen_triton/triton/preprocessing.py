"""The `preprocessing` model: text or chat messages to token ids, for the ensemble and for clients that only tokenize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import triton_python_backend_utils as pb

from ..chat.template import ChatTemplate
from ..preprocess import Preprocessor
from ..tensors.arrays import Array
from ..tensors.contract import PREPROCESSING_INPUTS
from ..tensors.prompt import decode_prompts, encode_prompts
from ..text.tokenizer import Tokenizer
from .model_process import prepare_process
from .requests import RequestReader, read_parameters, repository_of
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
        self._reader = RequestReader(PREPROCESSING_INPUTS)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        try:
            arrays = self._encode(self._reader.read(request).arrays)
        except Exception as error:  # an exception that leaves execute fails every request of the batch
            return pb.InferenceResponse(error=triton_error(error, request.request_id()))
        wanted = request.requested_output_names()
        return pb.InferenceResponse([pb.Tensor(n, a) for n, a in arrays.items() if n in wanted])

    def _encode(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        prompts = decode_prompts(inputs)
        requests = [self._preprocessor.engine_requests(prompt)[0] for prompt in prompts]
        return encode_prompts(requests, [p.stop.strings for p in prompts], self._tokenizer.vocab_size)
