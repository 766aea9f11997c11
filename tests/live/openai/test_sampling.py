"""The shim in front of a real engine: sampling parameters change what is said, and the same seed says it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, shimming

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def client(openvino_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """Random weights: whatever is sampled, is sampled from many tokens."""
    with (
        shimming(openvino_server, tmp_path_factory.mktemp("shim")) as shim,
        OpenAI(base_url=shim.v1, api_key="none", max_retries=0) as client,
    ):
        yield client


def say(client: OpenAI, **more: Any) -> str:
    given: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 12} | more
    found = client.chat.completions.create(model=MODEL, **given)
    return str(found.choices[0].message.content)


def test_an_answer_is_sampled_anew_and_by_seed_again(client: OpenAI) -> None:
    """Fresh seeds differ, as at OpenAI; given ones do not."""
    assert say(client) != say(client)
    assert say(client, seed=7) == say(client, seed=7)
    assert say(client, seed=7) != say(client, seed=8)


def test_temperature_zero_and_its_equals(client: OpenAI) -> None:
    """The likeliest tokens, by each parameter that leaves only them."""
    greedy = say(client, temperature=0)
    assert say(client, temperature=0) == greedy
    assert say(client, extra_body={"top_k": 1}) == greedy
    assert say(client, top_p=1e-6) == greedy
    assert say(client, extra_body={"min_p": 1.0}) == greedy


def test_answers_to_one_prompt_differ(client: OpenAI) -> None:
    """n samples, whole and streamed."""
    found = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], n=3, max_tokens=8, logprobs=True
    )
    assert len({c.message.content for c in found.choices}) == 3
    assert all(c.logprobs and c.logprobs.content and c.logprobs.content[0].logprob < 0 for c in found.choices)


def test_what_the_engine_cannot_do_is_named(client: OpenAI) -> None:
    """In the client's words."""
    with pytest.raises(openai.BadRequestError) as caught:
        say(client, logit_bias={"5": 1})
    assert (caught.value.param, "openvino" in str(caught.value)) == ("logit_bias", True)
    with pytest.raises(openai.BadRequestError) as caught:
        say(client, logprobs=True, top_logprobs=2)
    assert caught.value.param == "top_logprobs"


def test_forcing_a_call(client: OpenAI) -> None:
    """Even a model of random weights begins its answer as a call to the function."""
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], tools=tools, tool_choice="required", max_tokens=5,
        stream=True, stream_options={"include_usage": True},
    )  # fmt: skip
    last = list(stream)[-1].usage
    plain = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], tools=tools, max_tokens=5
    ).usage
    assert last is not None
    assert plain is not None
    assert last.prompt_tokens > plain.prompt_tokens
