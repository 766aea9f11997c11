"""A stand-in for a stock text model (v0.14.0's contract): one word per response, no finish reason, no counts.

It echoes text_input; the prompt «inputs» is answered with the names and values of its inputs.
"""

import numpy as np
import triton_python_backend_utils as pb

FINAL = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            arrays = {t.name(): t.as_numpy().reshape(-1).tolist() for t in request.inputs()}
            text = arrays["text_input"][0].decode()
            if text == "inputs":
                text = " ".join(f"{name}={arrays[name][0]}" for name in sorted(arrays))
            pieces = text.split(" ")[: arrays["max_tokens"][0]]
            pieces = [p if i == 0 else " " + p for i, p in enumerate(pieces)]
            sender = request.get_response_sender()
            for piece in pieces if arrays.get("stream", [False])[0] else ["".join(pieces)]:
                tensors = [
                    pb.Tensor("text_output", np.array([[piece.encode()]], dtype=np.object_)),
                    pb.Tensor("sequence_index", np.array([[0]], dtype=np.int32)),
                ]
                wanted = request.requested_output_names()
                sender.send(pb.InferenceResponse([t for t in tensors if t.name() in wanted]))
            sender.send(flags=FINAL)
