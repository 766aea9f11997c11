"""`postprocessing`: token ids to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import triton_python_backend_utils as pb

from ..contract import POSTPROCESSING, POSTPROCESSING_INPUTS
from ..postprocess import Postprocessor
from ..settings import TextSettings
from ..tokenizer import Tokenizer
from .requests import prepare_process, read_inputs, read_parameters, repository_of
from .responses import triton_error


class PostprocessingModel:
    """decode: ids and lengths | run and encode: Postprocessor.decode."""

    def initialize(self, args: Mapping[str, str]) -> None:
        prepare_process(POSTPROCESSING)
        settings = TextSettings.read(read_parameters(args), repository_of(args))
        self._postprocess = Postprocessor(Tokenizer.from_folder(settings.tokenizer_dir), settings.skip_special_tokens)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        try:
            inputs = read_inputs(request, POSTPROCESSING_INPUTS)
            text = self._postprocess.decode(inputs["TOKENS_BATCH"], inputs["SEQUENCE_LENGTH"], request.request_id())
        except Exception as error:  # an exception that leaves execute fails every request of the batch
            return pb.InferenceResponse(error=triton_error(error, request.request_id()))
        return pb.InferenceResponse([pb.Tensor("OUTPUT", text)])
