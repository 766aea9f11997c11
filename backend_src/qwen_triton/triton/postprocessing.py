"""`postprocessing`: token ids to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import triton_python_backend_utils as pb

from ..engines.process.socket import engine_address
from ..ensemble.ack_socket import ReceiptSender, receipts_address
from ..ensemble.ack_tag import read_tag
from ..ensemble.postprocess import Postprocessor
from ..tensors.contract import POSTPROCESSING, POSTPROCESSING_INPUTS, TENSORRT_LLM
from ..text.tokenizer import Tokenizer
from .model_process import prepare_process, server_pid
from .requests import read_inputs, read_parameters, repository_of
from .responses import triton_error
from .settings import TextSettings


class PostprocessingModel:
    """decode: ids and lengths | run and encode: Postprocessor.decode.

    It tells the engine model which chunks have come: that is how the engine learns whose caller has left.
    """

    def initialize(self, args: Mapping[str, str]) -> None:
        prepare_process(POSTPROCESSING)
        settings = TextSettings.read(read_parameters(args), repository_of(args))
        self._postprocess = Postprocessor(Tokenizer.from_folder(settings.tokenizer_dir), settings.skip_special_tokens)
        self._receipts = ReceiptSender(receipts_address(engine_address(server_pid(), TENSORRT_LLM)))
        self._receipts.start()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        with self._receipts.work():
            return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        self._receipts.stop()

    def _respond(self, request: Any) -> Any:
        try:
            inputs = read_inputs(request, POSTPROCESSING_INPUTS)
            if tag := read_tag(inputs["TOKENS_BATCH"]):
                self._receipts.note(*tag)
            text = self._postprocess.decode(inputs["TOKENS_BATCH"], inputs["SEQUENCE_LENGTH"], request.request_id())
        except Exception as error:  # an exception that leaves execute fails every request of the batch
            return pb.InferenceResponse(error=triton_error(error, request.request_id()))
        return pb.InferenceResponse([pb.Tensor("OUTPUT", text)])
