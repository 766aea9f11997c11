"""The models' own families on Triton's /metrics, with the counts of what was asked."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE, PREPROCESSING, TENSORRT_LLM
from tests.live.conftest import Serve
from tests.support.live.client import Refused, generate
from tests.support.live.crowd import Grpc, together
from tests.support.live.servers import LiveServer
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
_LINE = re.compile(r"qwen_triton_(\w+)\{([^}]*)\} ([\d.eE+-]+)")


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 5.0, "slots": 2}})


def scrape(server: LiveServer) -> dict[tuple[str, str, str], float]:
    """{(family, model, the other label's value): value}, summed over the instances of a model."""
    text = urllib.request.urlopen(server.metrics, timeout=10).read().decode()
    values: dict[tuple[str, str, str], float] = {}
    for family, labels, value in _LINE.findall(text):
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        model, _, _ = (named.pop(label) for label in ("model", "version", "model_instance"))
        key = family, model, next(iter(named.values()), "")
        values[key] = values.get(key, 0.0) + float(value)
    return values


def test_counts_and_times_of_known_traffic(server: LiveServer) -> None:
    """Ten answers of the BLS, two at a time: their number, tokens, ends, and the times between."""
    inputs = {"text_input": "one two three four", "max_tokens": 4, "stream": True}
    received = together([Grpc(server, BLS, inputs) for _ in range(10)])
    assert all(h.finish == "length" for h in received)
    generate(server, BLS, text_input="one two", max_tokens=9)
    with pytest.raises(Refused):
        generate(server, BLS, text_input="", max_tokens=4)
    together([Grpc(server, BLS, {"text_input": "and on " * 300, "stream": True}, leaves_after=2)])

    def value(family: str, label: str = "", model: str = BLS) -> float:
        return scrape(server).get((family, model, label), 0.0)

    assert becomes(lambda: value("requests_finished_total", "cancelled") == 1, within_s=5)
    assert value("requests_finished_total", "length") == 10
    assert value("requests_finished_total", "stop") == 1
    assert value("requests_finished_total", "invalid") == 1
    assert value("prompt_tokens_total") == 10 * 4 + 2
    assert value("output_tokens_total") == 10 * 4 + 3
    for family in ("time_to_first_token_seconds", "end_to_end_seconds"):
        assert value(f"{family}_count") >= 11
        assert value(f"{family}_bucket", "+Inf") == value(f"{family}_count")
        assert 0 < value(f"{family}_sum") < 60 * value(f"{family}_count")
    assert value("inter_token_latency_seconds_count") > 0
    assert value("requests_in_flight") == 0
    # The engine model publishes on its own, once a second; its tokens come last.
    assert becomes(lambda: value("engine_tokens_total", model=TENSORRT_LLM) >= 43, within_s=5)
    assert becomes(lambda: value("requests_running", model=TENSORRT_LLM) == 0, within_s=3)
    assert becomes(lambda: value("queue_seconds_count", model=TENSORRT_LLM) == 12, within_s=3)
    assert value("queue_seconds_sum", model=TENSORRT_LLM) > 0
    steps, sequences = (value(f"engine_{name}_total", model=TENSORRT_LLM) for name in ("steps", "step_sequences"))
    ended_without_a_token = 1  # by the end id after its last one
    assert 0 < steps <= sequences <= value("engine_tokens_total", model=TENSORRT_LLM) + ended_without_a_token
    assert value("successor_seconds_count", model=TENSORRT_LLM) > 0


def test_what_preprocessing_refuses_is_counted(server: LiveServer) -> None:
    """It never reaches the engine model, which counts the ensemble's other requests."""
    with pytest.raises(Refused):
        generate(server, ENSEMBLE, text_input="", max_tokens=4)
    with pytest.raises(Refused):
        generate(server, ENSEMBLE, text_input="hello", max_tokens=0)

    def refused() -> float:
        return scrape(server).get(("requests_finished_total", PREPROCESSING, "invalid"), 0.0)

    assert becomes(lambda: refused() == 2, within_s=5)


def test_running_and_waiting_are_seen_while_they_are(server: LiveServer) -> None:
    """Five long answers on two slots: two run, three wait, five are in flight."""
    inputs = {"text_input": "and on " * 400, "stream": True}
    seen: list[tuple[float, ...]] = []

    def look() -> bool:
        found = scrape(server)
        engine = [found.get((f"requests_{state}", TENSORRT_LLM, ""), 0.0) for state in ("running", "waiting")]
        seen.append((*engine, found.get(("requests_in_flight", BLS, ""), 0.0)))
        return seen[-1] == (2.0, 3.0, 5.0)

    from threading import Thread

    crowd = Thread(target=together, args=([Grpc(server, BLS, inputs, deadline_s=4.0)] * 5,))
    crowd.start()
    assert becomes(look, within_s=4), seen
    crowd.join()


def test_the_ensemble_is_counted_by_the_engine_model(server: LiveServer) -> None:
    before = scrape(server).get(("requests_finished_total", TENSORRT_LLM, "stop"), 0.0)
    generate(server, ENSEMBLE, text_input="one two", max_tokens=9)
    key = ("requests_finished_total", TENSORRT_LLM, "stop")
    assert becomes(lambda: scrape(server).get(key, 0.0) == before + 1, within_s=5)
