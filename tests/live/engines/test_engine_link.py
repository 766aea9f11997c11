"""The link to NVIDIA's backend: answers through the server's own gRPC, plain and with TLS, exact and cancelled."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Thread

import pytest

from qwen_triton.tensors.contract import BLS
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.certificates import make_certificate
from tests.support.live.client import Refused, generate, generate_stream, stream_grpc
from tests.support.live.crowd import Grpc, Http, Received, together
from tests.support.live.standin import StandIn, serving_standin
from tests.support.live.texts import random_ids
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
LONG = {"text_input": "and on " * 300, "max_tokens": 600, "stream": True}
AT_ONCE = 500


@pytest.fixture(scope="module")
def standin(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with serving_standin(qwen25_folder, tmp_path_factory.mktemp("standin"), step_ms=20.0) as server:
        yield server


def test_streams_at_once_are_exact(standin: StandIn, qwen25: Tokenizer) -> None:
    """One token a response from the engine, the text joined the one-shot decode, the engine left empty.

    `python -m tests.tools.soak_link` asks for many more of them, one after the other.
    """
    streams = list(islice(random_ids(qwen25, seed=4, longest=24), AT_ONCE))
    sent = [{"input_ids": i, "max_tokens": len(i), "ignore_eos": True, "stream": True} for i in streams]
    received = together([Grpc(standin.server, BLS, inputs) for inputs in sent])
    for ids, answer in zip(streams, received, strict=True):
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
    received = together([kind(standin.server, BLS, LONG, leaves_after=3)])
    assert received[0].left
    assert becomes(lambda: standin.running() == 0, within_s=1)


def test_what_the_engine_cannot_do_is_refused_by_name(standin: StandIn) -> None:
    """NVIDIA's backend has no min_p; the request fails alone and the next one works."""
    with pytest.raises(Refused, match=r"min_p: the tensorrtllm engine does not support it"):
        generate(standin.server, BLS, text_input="hello", max_tokens=4, min_p=0.1)
    assert generate(standin.server, BLS, text_input="hello there", max_tokens=20)["text_output"] == "hello there"


def test_a_request_that_fails_in_the_engine_fails_alone(standin: StandIn) -> None:
    """Its caller reads a request id after the text so far; the server's log has the cause."""
    sent = [
        {"text_input": "one two three four", "max_tokens": 20, "stream": True, "random_seed": s} for s in (1, 13, 2)
    ]
    received = together([Grpc(standin.server, BLS, inputs) for inputs in sent])
    assert [received[0].text, received[2].text] == ["one two three four"] * 2
    assert "one two".startswith(received[1].text)
    assert [h.error for h in (received[0], received[2])] == ["", ""]
    assert "internal error; the server's log has the cause under request" in received[1].error
    assert "out of blocks" in standin.server.log.read_text()


def test_several_answers_of_a_prompt_run_at_once(standin: StandIn) -> None:
    """Each a sequence of its own in the engine."""
    sent = {"text_input": "one two three", "max_tokens": 20, "num_return_sequences": 3, "temperature": 1.0}
    answers = stream_grpc(standin.server, BLS, sent)
    assert {a["sequence_index"]: a["text_output"] for a in answers} == dict.fromkeys(range(3), "one two three")


def test_an_engine_that_dies_fails_its_callers(qwen25_folder: Path, tmp_path: Path) -> None:
    """Triton itself leaves them unanswered. It does not start a Python model's process again: later requests fail. Where the
    process held a lock of their shared memory when it was killed, tritonserver 2.51 ends as well."""
    reason = "tritonserver 2.51 waits its whole exit timeout for a Python model whose process was killed"
    with serving_standin(qwen25_folder, tmp_path, step_ms=20.0, cannot_unload=reason) as standin:
        received: list[Received] = []
        crowd = Thread(target=lambda: received.extend(together([Grpc(standin.server, BLS, LONG) for _ in range(3)])))
        crowd.start()
        assert becomes(lambda: standin.running() == 3, 10)
        os.kill(standin.pid, signal.SIGKILL)
        crowd.join()
        told = "the engine's model is out of reach: its process has ended; try again"
        assert all(told in h.error and LONG["text_input"].startswith(h.text) for h in received)
        with pytest.raises((Refused, OSError)) as later:
            generate(standin.server, BLS, text_input="hello again", max_tokens=10)
        assert "internal error" in str(later.value) or "lock_exception" in standin.server.log.read_text()


def test_an_engine_that_is_not_decoupled_answers_whole(qwen25_folder: Path, tmp_path: Path) -> None:
    """One response a request, whatever the order in which they end; a caller that leaves frees it as well."""
    with serving_standin(qwen25_folder, tmp_path, step_ms=10.0, decoupled=False) as standin:
        texts = ["and on " * n for n in (40, 2, 20, 1)]
        received = together([Grpc(standin.server, BLS, {"text_input": t, "max_tokens": 90}) for t in texts])
        assert [(h.text, h.finish, h.error) for h in received] == [(t, "stop", "") for t in texts]
        with pytest.raises(Refused, match="internal error"):
            generate(standin.server, BLS, text_input="one two three four", max_tokens=20, random_seed=13)
        left = together([Grpc(standin.server, BLS, {**LONG, "stream": False}, deadline_s=0.5)])
        assert left[0].status == "DEADLINE_EXCEEDED"
        assert becomes(lambda: standin.running() == 0, within_s=1)


@pytest.mark.parametrize("mutual", [False, True])
def test_a_server_that_serves_grpc_with_tls(
    qwen25_folder: Path, tmp_path: Path, qwen25: Tokenizer, mutual: bool
) -> None:
    """The BLS trusts the server's own certificate; where the server checks clients too, it shows the same one."""
    own = make_certificate(tmp_path, "own")
    flags = ["--grpc-use-ssl=1", f"--grpc-server-cert={own.certificate}", f"--grpc-server-key={own.key}"]
    flags += ["--grpc-use-ssl-mutual=1", f"--grpc-root-cert={own.certificate}"] if mutual else []
    with serving_standin(qwen25_folder, tmp_path, step_ms=20.0, flags=flags) as standin:
        streams = list(islice(random_ids(qwen25, seed=5, longest=24), 100))
        inputs = [{"input_ids": i, "max_tokens": len(i), "ignore_eos": True, "stream": True} for i in streams]
        answers = together([Http(standin.server, BLS, i) for i in inputs])
        assert [(a.text, a.finish, a.error) for a in answers] == [(qwen25.decode(i), "length", "") for i in streams]
        left = together([Http(standin.server, BLS, LONG, leaves_after=3)])
        assert left[0].left
        assert becomes(lambda: standin.running() == 0, within_s=1)
