"""A model.py that stands in for NVIDIA's C++ backend: stock's contract, one token a response, cancelled by `stop`.

It echoes the prompt's ids at a pace given by the parameter `step_ms`; without `streaming` all of them in one response.
It knows nothing of text. As the real one it must be asked for `output_ids` and `sequence_length`. A request with the
seed 13 fails at its third token. The parameter `counters` may name a file that holds the number of running requests.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

FINAL = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL
FAILING_SEED = 13
PLAYERS = 4


@dataclass(slots=True)
class _Play:
    """A request's answer, and how much of it was played."""

    sender: Any
    ids: list[int]
    streaming: bool
    fails: bool
    at: int = 0


class _Player:
    """A thread that plays its requests, a token each at every step."""

    def __init__(self, step_s: float, after_step: Callable[[], None]) -> None:
        self.lock = threading.Lock()
        self.running: dict[str, _Play] = {}
        self.stopping = False
        self._step_s = step_s
        self._after_step = after_step
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.stopping:
            started = time.monotonic()
            with self.lock:
                for name, play in list(self.running.items()):
                    if _advance(play):
                        del self.running[name]
            self._after_step()
            time.sleep(max(0.0005, self._step_s - (time.monotonic() - started)))


class TritonPythonModel:
    """Several threads share the requests: sending is a round trip to the server, most of it waiting."""

    def initialize(self, args: Mapping[str, str]) -> None:
        parameters = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        self._counters = Path(parameters["counters"]) if "counters" in parameters else None
        step_s = float(parameters["step_ms"]) / 1e3
        self._players = [_Player(step_s, self._count) for _ in range(PLAYERS)]
        for player in self._players:
            player.thread.start()

    def execute(self, requests: Sequence[Any]) -> None:
        for request in requests:
            self._take(request)

    def finalize(self) -> None:
        for player in self._players:
            player.stopping = True
        for player in self._players:
            player.thread.join()

    def _take(self, request: Any) -> None:
        sender, name = request.get_response_sender(), request.request_id()
        player = self._players[hash(name) % PLAYERS]
        arrays = {tensor.name(): tensor.as_numpy().reshape(-1) for tensor in request.inputs()}
        if not {"output_ids", "sequence_length"} <= set(request.requested_output_names()):
            error = pb.TritonError("output_ids and sequence_length must be requested")
            sender.send(pb.InferenceResponse(error=error), flags=FINAL)
        elif "stop" in arrays and arrays["stop"].all():
            with player.lock:
                stopped = player.running.pop(name, None)
            if stopped is not None:
                stopped.sender.send(flags=FINAL)
            sender.send(flags=FINAL)
        else:
            with player.lock:
                player.running[name] = _read(sender, arrays)

    def _count(self) -> None:
        if self._counters is not None:
            self._counters.write_text(str(sum(len(player.running) for player in self._players)))


def _read(sender: Any, arrays: Mapping[str, Any]) -> _Play:
    seed = next((int(arrays[name][0]) for name in ("seed", "random_seed") if name in arrays), 0)
    length = min(int(arrays["input_lengths"][0]), int(arrays["request_output_len"][0]))
    ids = arrays["input_ids"].tolist()[:length]
    return _Play(sender, ids, bool(arrays["streaming"].all()), seed == FAILING_SEED)


def _advance(play: _Play) -> bool:
    """Goes one token on. Returns whether the request has ended."""
    play.at += 1
    if play.fails and play.at == 3:
        play.sender.send(pb.InferenceResponse(error=pb.TritonError("out of blocks")), flags=FINAL)
        return True
    final = play.at >= len(play.ids)
    if play.streaming:
        play.sender.send(_response(play.ids[play.at - 1 : play.at]), flags=FINAL if final else 0)
    elif final:
        play.sender.send(_response(play.ids), flags=FINAL)
    return final


def _response(ids: list[int]) -> Any:
    return pb.InferenceResponse(
        [
            pb.Tensor("output_ids", np.array([[ids]], dtype=np.int32)),
            pb.Tensor("sequence_length", np.array([[len(ids)]], dtype=np.int32)),
        ]
    )
