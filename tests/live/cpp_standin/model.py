"""A stand-in for NVIDIA's C++ backend: stock's contract, one token a response, cancelled by stock's `stop` request.

It echoes the prompt's ids, or ends at `end_id`, at a pace given by the parameter `step_ms`; it knows nothing of text.
What it is asked for that the real one would refuse it refuses as well: outputs it must be asked for, a `stop` without
a request id. `/v2/models/…` parameters: `counters` names a file that always holds the number of running requests.
"""

import json
import threading
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb

FINAL = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL


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
            with self._lock:
                self._running[name] = {"sender": sender, "ids": ids, "length": length, "at": 0}

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
        at = play["at"]
        ended = at >= len(play["ids"])
        ids = [] if ended else [play["ids"][at]]
        play["at"] = at + 1
        final = ended or play["at"] >= play["length"]
        tensors = [
            pb.Tensor("output_ids", np.array([[ids]], dtype=np.int32)),
            pb.Tensor("sequence_length", np.array([[len(ids)]], dtype=np.int32)),
        ]
        play["sender"].send(pb.InferenceResponse(tensors), flags=FINAL if final else 0)
        return final
