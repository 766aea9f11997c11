"""The door to NVIDIA's backend: answers through Triton's `exec`, exact and cancelled as through our own door."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from qwen_triton.contract import BLS
from qwen_triton.tokenizer import Tokenizer
from tests.live.client import Refused, generate, generate_stream
from tests.live.crowd import Grpc, Http, together
from tests.live.standin import StandIn, serving_standin
from tests.live.texts import random_ids
from tests.live.waiting import becomes

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def standin(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with serving_standin(qwen25_folder, tmp_path_factory.mktemp("standin"), step_ms=20.0) as server:
        yield server


def test_100_streams_at_once_are_exact(standin: StandIn, qwen25: Tokenizer) -> None:
    """One token a response from the engine, the text joined the one-shot decode, the engine left empty.

    More at once is for `python -m tests.soak_exec`: the stub itself may lock up then (exec_line says how).
    """
    streams = list(islice(random_ids(qwen25, seed=4, longest=24), 100))
    asked = [{"input_ids": i, "max_tokens": len(i), "ignore_eos": True, "stream": True} for i in streams]
    heard = together([Grpc(standin.server, BLS, inputs) for inputs in asked])
    for ids, answer in zip(streams, heard, strict=True):
        assert (answer.text, answer.error, answer.ends) == (qwen25.decode(ids), "", 1)
        assert (answer.finish, answer.outputs["num_output_tokens"]) == ("length", len(ids))
    assert becomes(lambda: standin.running() == 0, within_s=2)


def test_a_stop_string_stops_the_engine(standin: StandIn) -> None:
    """The engine would go on for seconds; stock's stop request ends it at once."""
    prompt = "one two STOP " + "and on and on " * 100
    events = generate_stream(standin.server, BLS, text_input=prompt, max_tokens=400, stop_words=[" STOP"])
    assert "".join(event["text_output"] for event in events) == "one two"
    assert (events[-1]["finish_reason"], events[-1]["stop_reason"]) == ("stop", '" STOP"')
    assert becomes(lambda: standin.running() == 0, within_s=1)


@pytest.mark.parametrize("kind", [Grpc, Http])
def test_a_caller_that_leaves_frees_the_engine(standin: StandIn, kind: type[Grpc] | type[Http]) -> None:
    inputs = {"text_input": "and on " * 300, "max_tokens": 600, "stream": True}
    heard = together([kind(standin.server, BLS, inputs, leaves_after=3)])
    assert heard[0].left
    assert becomes(lambda: standin.running() == 0, within_s=1)


def test_what_the_engine_cannot_do_is_refused_by_name(standin: StandIn) -> None:
    """NVIDIA's backend has no min_p; the request fails alone and the next one works."""
    with pytest.raises(Refused, match=r"min_p: the tensorrtllm engine does not support it"):
        generate(standin.server, BLS, text_input="hello", max_tokens=4, min_p=0.1)
    assert generate(standin.server, BLS, text_input="hello there", max_tokens=20)["text_output"] == "hello there"
