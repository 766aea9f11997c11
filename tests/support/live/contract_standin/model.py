"""A stand-in for NVIDIA's C++ backend behind an ensemble: returns exactly the outputs that its config.pbtxt declares.

It echoes the prompt's ids, one per response if it is decoupled; outputs without a value are zeros, as NVIDIA's are. Inputs
that its config does not declare never reach it, because Triton refuses them.
"""

import json

import numpy as np
import triton_python_backend_utils as pb

FINAL = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self._outputs = {
            o["name"]: (pb.triton_string_to_numpy(o["data_type"]), [max(1, int(d)) for d in o["dims"]])
            for o in config["output"]
        }

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            arrays = {t.name(): t.as_numpy() for t in request.inputs()}
            ids = arrays["input_ids"].reshape(-1)[: int(arrays["request_output_len"].reshape(-1)[0])]
            for token in ids.tolist():
                sender.send(pb.InferenceResponse(self._tensors(request, token)))
            sender.send(flags=FINAL)

    def _tensors(self, request, token):
        own = {"output_ids": np.array([[[token]]], np.int32), "sequence_length": np.array([[1]], np.int32)}
        zeros = {n: np.zeros([1, *dims], dtype) for n, (dtype, dims) in self._outputs.items()}
        return [pb.Tensor(n, a) for n, a in {**zeros, **own}.items() if n in request.requested_output_names()]
