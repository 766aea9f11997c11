"""Compiled forms have a bound in time: hostile grammars are refused, and all others go on meanwhile."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qwen_triton.chat.forms.compile import FormCompiler
from qwen_triton.engines.openvino import engine as engine_module
from qwen_triton.engines.openvino.engine import OpenVinoEngine
from qwen_triton.engines.openvino.grammars import trial
from qwen_triton.engines.openvino.options import OpenVinoOptions
from qwen_triton.types import EngineRequest, Form, SamplingParams, TokenChunk
from tests.support.folders import ROOT

DEMO = ROOT / "demo" / "checkpoint"
HOSTILE = "root ::= a0\n" + "".join(f"a{i} ::= a{i + 1} a{i + 1}?\n" for i in range(40)) + "a40 ::= [^x]\n"
"""A few hundred states, which the library would compile for hours."""
FREE = EngineRequest((1, 2), SamplingParams(max_tokens=12, temperature=1.0, seed=1))
END = 4


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenVinoEngine]:
    options = OpenVinoOptions(
        model=str(DEMO), cache_gib=0.5, form_compile_s=1, conversion_cache=str(tmp_path_factory.mktemp("conversions"))
    )
    engine = OpenVinoEngine(options)
    yield engine
    engine.close()


def kept(grammar: str) -> EngineRequest:
    return replace(FREE, end_ids=(END,), grammar=grammar)


def run(engine: OpenVinoEngine, most_s: float = 120.0) -> list[tuple[int, TokenChunk]]:
    """The last chunk of each sequence, in the order in which they ended."""
    found, until = [], time.monotonic() + most_s
    while (wait_s := engine.wait_s()) is not None:
        assert time.monotonic() < until, "the engine does not come to an end"
        time.sleep(wait_s)
        found += [(key, chunk) for key, chunk in engine.step() if chunk.finish]
    return found


def test_a_hostile_grammar_is_refused_while_others_are_answered(engine: OpenVinoEngine) -> None:
    engine.add(1, kept(HOSTILE))
    engine.add(2, FREE)
    engine.add(3, kept('root ::= "hello"\n'))
    (first, second, last) = run(engine)
    assert {first[0], second[0], last[0]} == {1, 2, 3}
    assert first == (2, first[1]._replace(finish="length"))
    refused = dict([first, second, last])[1]
    assert (refused.finish, refused.token_ids) == ("refused", ())
    assert "more than 1 s of CPU (engine.form_compile_s)" in refused.error
    assert dict([first, second, last])[3].finish == "stop"
    assert engine.counters.running == engine.counters.waiting == 0


def test_a_form_that_slows_all_others_is_refused(engine: OpenVinoEngine) -> None:
    """It compiles at once; then choosing each token takes longer than the one before, within the step of all."""
    assert engine._grammars is not None
    nested = "(?:(?:.*)+(?:.*)+)+x" * 4
    found = engine._grammars._trial.run(FormCompiler().ebnf(Form("regex", nested)))
    assert "engine.form_compile_s" in found.refusal


def test_what_the_library_cannot_compile_is_refused_with_its_words(engine: OpenVinoEngine) -> None:
    engine.add(11, kept("root ::= nothing\n"))
    engine.add(12, kept('root ::= "yes"\n'))
    ended = dict(run(engine))
    assert (ended[11].finish, "openvino-genai cannot compile it: " in ended[11].error) == ("refused", True)
    assert ended[12].finish == "stop"


def test_a_grammar_that_nobody_waits_for_is_not_compiled(engine: OpenVinoEngine) -> None:
    """Its client has left; one that comes again is served."""
    engine.add(21, kept(HOSTILE.replace("x", "y")))
    engine.add(22, kept('root ::= "left"\n'))
    engine.cancel(22)
    held = engine._grammars.held_bytes if engine._grammars else 0
    assert [key for key, _ in run(engine)] == [21]
    assert engine._grammars is not None
    assert engine._grammars.held_bytes == held
    engine.add(23, kept('root ::= "left"\n'))
    assert [(key, chunk.finish) for key, chunk in run(engine)] == [(23, "stop")]


def test_a_trial_that_does_not_start_is_no_fault_of_the_caller(
    engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(Path("/bin/false")))
    assert engine._grammars is not None
    engine._grammars._trial.close()
    engine.add(41, kept('root ::= "three"\n'))
    ((_, failed),) = run(engine)
    assert (failed.finish, "does not start" in failed.error) == ("error", True)
    monkeypatch.undo()
    engine.add(42, kept('root ::= "three"\n'))
    assert [chunk.finish for _, chunk in run(engine)] == ["stop"]


def test_a_trial_works_where_threads_have_large_stacks(engine: OpenVinoEngine) -> None:
    """As in the processes of a server, where a limit of the address space kept the library's threads from starting."""
    assert engine._grammars is not None
    engine._grammars._trial.close()
    before = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (256 << 20, before[1]))
    try:
        engine.add(51, kept('root ::= "four" [a-z]{2}\n'))
        assert [chunk.finish for _, chunk in run(engine, 60)] == ["stop"]
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, before)


def test_a_trial_that_takes_too_much_memory_is_ended(engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from outside: the kernel counts the address space only, of which threads take much."""
    assert engine._grammars is not None
    one = engine._grammars._trial
    assert one.run('root ::= "five"\n').refusal == ""
    monkeypatch.setattr(trial, "_LOOK_S", 0.01)
    monkeypatch.setattr(trial, "_MEMORY", 1 << 20)
    assert "GiB to compile it; make it simpler" in one.run(HOSTILE.replace("x", "z")).refusal
    monkeypatch.undo()
    assert one.run('root ::= "six"\n').refusal == ""


def test_the_memory_of_compiled_grammars_is_bounded(engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond twice the bound nothing joins until all has ended; the pipeline is built anew then."""
    monkeypatch.setattr(engine_module, "_GRAMMAR_BYTES", 1)
    engine.add(31, kept('root ::= "one"\n'))
    first = engine._pipeline
    assert [chunk.finish for _, chunk in run(engine)] == ["stop"]
    engine.add(32, FREE)
    engine.step()
    assert engine._pipeline is not first
    engine.add(33, kept('root ::= "two"\n'))
    engine.add(34, replace(FREE, sampling=replace(FREE.sampling, max_tokens=40)))
    assert {key: chunk.finish for key, chunk in run(engine)} == {32: "length", 33: "stop", 34: "length"}
