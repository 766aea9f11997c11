"""A stand-in for NVIDIA's C++ backend: stock's contract, one token a response, cancelled by stock's `stop` request.

It echoes the prompt's ids at a pace given by the parameter `step_ms`; without `streaming` all of them in one response.
It knows nothing of text. As the real one it must be asked for `output_ids` and `sequence_length`. A request with the
seed 13 fails at its third token. The parameter `counters` names a file that holds the number of running requests.
"""

import json
import threading
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb

FINAL = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL
FAILING_SEED = 13


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self._step_s = float(parameters["step_ms"]["string_value"]) / 1e3
        self._counters = Path(parameters["counters"]["string_value"])
        self._running = {}
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def execute(self, requests):
        for request in requests:
            self._take(request)

    def finalize(self):
        self._stopping = True
        self._thread.join()

    def _take(self, request):
        sender = request.get_response_sender()
        arrays = {t.name(): t.as_numpy() for t in request.inputs()}
        name = request.request_id()
        if not {"output_ids", "sequence_length"} <= set(request.requested_output_names()):
            error = pb.TritonError("output_ids and sequence_length must be requested")
            sender.send(pb.InferenceResponse(error=error), flags=FINAL)
        elif "stop" in arrays and arrays["stop"].all():
            with self._lock:
                stopped = self._running.pop(name, None)
            if stopped is not None:
                stopped["sender"].send(flags=FINAL)
            sender.send(flags=FINAL)
        else:
            length = int(arrays["request_output_len"].reshape(-1)[0])
            ids = arrays["input_ids"].reshape(-1).tolist()[: int(arrays["input_lengths"].reshape(-1)[0])]
            seed = next((int(arrays[n].reshape(-1)[0]) for n in ("seed", "random_seed") if n in arrays), 0)
            streaming = bool(arrays["streaming"].all())
            play = {
                "sender": sender,
                "ids": ids[:length],
                "at": 0,
                "streaming": streaming,
                "fails": seed == FAILING_SEED,
            }
            with self._lock:
                self._running[name] = play

    def _play(self):
        while not self._stopping:
            started = time.monotonic()
            with self._lock:
                for name, play in list(self._running.items()):
                    if self._advance(play):
                        del self._running[name]
                self._counters.write_text(str(len(self._running)))
            time.sleep(max(0.0005, self._step_s - (time.monotonic() - started)))

    def _advance(self, play):
        """Goes one token on. Returns whether the request has ended."""
        play["at"] += 1
        at, ids, sender = play["at"], play["ids"], play["sender"]
        if play["fails"] and at == 3:
            sender.send(pb.InferenceResponse(error=pb.TritonError("out of blocks")), flags=FINAL)
            return True
        final = at >= len(ids)
        if play["streaming"]:
            sender.send(_response(ids[at - 1 : at]), flags=FINAL if final else 0)
        elif final:
            sender.send(_response(ids), flags=FINAL)
        return final


def _response(ids):
    return pb.InferenceResponse(
        [
            pb.Tensor("output_ids", np.array([[ids]], dtype=np.int32)),
            pb.Tensor("sequence_length", np.array([[len(ids)]], dtype=np.int32)),
        ]
    )
