"""The real openai SDK against the shim in front of the replay engine: every text, count and reason exact."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.text.tokenizer import Tokenizer
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, LiveShim, shimming

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

SYSTEM = "答曰：好👨‍👩‍👧 — naïve"
MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": SYSTEM}, {"role": "user", "content": "你好"},
]  # fmt: skip
ANSWER = f"system\n{SYSTEM}"
"""Echo says the rendered prompt up to its first end id."""


@pytest.fixture(scope="module")
def shim(replay_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    with shimming(replay_server, tmp_path_factory.mktemp("shim")) as shim:
        yield shim


@pytest.fixture(scope="module")
def client(shim: LiveShim) -> Iterator[OpenAI]:
    with OpenAI(base_url=shim.v1, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def prompt_ids(qwen25_folder: Any, qwen25: Tokenizer) -> list[int]:
    """What the model reads for MESSAGES."""
    return ChatTemplate.from_folder(qwen25_folder, qwen25).encode(MESSAGES)


@pytest.fixture(scope="module")
def answer_tokens(qwen25: Tokenizer) -> int:
    """What the answer costs: <|im_start|> (no text), the text, the end id."""
    return 1 + len(qwen25.encode(ANSWER)) + 1


def test_whole(client: OpenAI, prompt_ids: list[int], answer_tokens: int) -> None:
    """Text, reason and exact usage."""
    found = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    choice, usage = found.choices[0], found.usage
    assert (choice.message.content, choice.finish_reason) == (ANSWER, "stop")
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(prompt_ids), answer_tokens)


def test_streamed(client: OpenAI, prompt_ids: list[int], answer_tokens: int) -> None:
    """The same, in pieces; no piece holds half a character."""
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    texts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(texts) == ANSWER
    assert len(texts) > 4
    assert not any("�" in text for text in texts)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(prompt_ids), answer_tokens)


def test_length(client: OpenAI) -> None:
    """Cut at max_tokens, and so said."""
    found = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_completion_tokens=4)
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert found.usage.completion_tokens == 4


@pytest.mark.parametrize("stop", ["好", ["zzz", "👧"]])
def test_stop(client: OpenAI, stop: Any) -> None:
    """In the text, whatever its tokens are; left out of it, in both modes."""
    expected = ANSWER.split(stop if isinstance(stop, str) else "👧")[0]
    found = client.chat.completions.create(model=MODEL, messages=MESSAGES, stop=stop).choices[0]
    assert (found.message.content, found.finish_reason) == (expected, "stop")
    chunks = client.chat.completions.create(model=MODEL, messages=MESSAGES, stop=stop, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == expected


def test_n(client: OpenAI, answer_tokens: int, prompt_ids: list[int]) -> None:
    """Three answers, the prompt counted once."""
    found = client.chat.completions.create(model=MODEL, messages=MESSAGES, n=3)
    assert [(c.index, c.message.content) for c in found.choices] == [(i, ANSWER) for i in range(3)]
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (len(prompt_ids), 3 * answer_tokens)
    texts = ["", "", ""]
    for chunk in client.chat.completions.create(model=MODEL, messages=MESSAGES, n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [ANSWER] * 3


def test_logprobs(client: OpenAI) -> None:
    """One entry a token, whose bytes are the text's; replay's log prob is -0.5."""
    found = client.chat.completions.create(model=MODEL, messages=MESSAGES, logprobs=True, top_logprobs=2)
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    said = b"".join(bytes(t.bytes or []) for t in logprobs.content).removeprefix(b"<|im_start|>")
    assert said.decode() == ANSWER
    assert {(t.logprob, len(t.top_logprobs)) for t in logprobs.content} == {(-0.5, 2)}
    streamed = [
        token
        for chunk in client.chat.completions.create(
            model=MODEL, messages=MESSAGES, logprobs=True, top_logprobs=2, stream=True
        )
        if (lists := chunk.choices[0].logprobs)
        for token in lists.content or ()
    ]
    assert streamed == logprobs.content


def test_completions(client: OpenAI, qwen25: Tokenizer) -> None:
    """Texts and ids, several at once, echo, the old log probs."""
    ids = qwen25.encode("four five")
    whole = client.completions.create(model=MODEL, prompt=["one two three", "好"])
    assert [c.text for c in whole.choices] == ["one two three", "好"]
    from_ids = client.completions.create(model=MODEL, prompt=ids, logprobs=0)
    assert from_ids.choices[0].text == "four five"
    assert from_ids.choices[0].logprobs is not None
    assert from_ids.choices[0].logprobs.text_offset == [0, 4]
    echoed = client.completions.create(model=MODEL, prompt="one two three", echo=True, max_tokens=1, stream=True)
    assert "".join(c.choices[0].text for c in echoed) == "one two threeone"


def test_models(client: OpenAI) -> None:
    """Only what may be asked for."""
    assert [m.id for m in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("tensorrt_llm_bls")


def test_errors_are_the_sdk_s(client: OpenAI) -> None:
    """Each fault is the exception that the SDK has for it, and names its parameter."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=-1)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[{"role": "bard", "content": "x"}])  # type: ignore[list-item]
    assert caught.value.param == "messages[0].role"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "word " * 40_000}], stream=True
        )
    assert (caught.value.param, caught.value.code) == ("messages", "context_length_exceeded")
    assert caught.value.body["message"].startswith(  # type: ignore[index]  # typed as any object
        "This model's maximum context length is 32768 tokens. However, the prompt resulted in 400"
    )
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4", messages=MESSAGES)


def test_a_length_beyond_the_context_is_an_upper_bound(client: OpenAI) -> None:
    """Agents always send a large max_tokens: the context is another bound, and the reason says that it was reached."""
    given: Any = {"model": MODEL, "prompt": [198] * 32_760, "max_tokens": 100_000, "extra_body": {"ignore_eos": True}}
    answer = client.completions.create(**given)
    assert (answer.choices[0].finish_reason, answer.usage and answer.usage.completion_tokens) == ("length", 8)


def test_tokenize(shim: LiveShim, client: OpenAI, prompt_ids: list[int]) -> None:
    """The ids that the model reads, and back."""
    tokens = client.post(f"{shim.url}/tokenize", body={"messages": MESSAGES}, cast_to=object)
    assert isinstance(tokens, dict)
    assert (tokens["tokens"], tokens["count"], tokens["max_model_len"]) == (prompt_ids, len(prompt_ids), 32_768)
    text = client.post(f"{shim.url}/detokenize", body={"tokens": prompt_ids}, cast_to=object)
    assert text == {"prompt": f"system\n{SYSTEM}\nuser\n你好\nassistant\n"}


def test_five_hundred_streams_at_once(shim: LiveShim) -> None:
    """Every text right, whatever pieces merged on the way."""

    async def one(client: AsyncOpenAI, number: int) -> tuple[str, str]:
        said = f"{number} 你好，世界🌍 {'πρόσωπο ' * (number % 7)}{number}"
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "system", "content": said}], stream=True
        )
        return f"system\n{said}", "".join([c.choices[0].delta.content or "" async for c in stream])

    async def run() -> list[tuple[str, str]]:
        async with AsyncOpenAI(base_url=shim.v1, api_key="none", max_retries=0, timeout=100) as client:
            return await asyncio.gather(*(one(client, i) for i in range(500)))

    assert [(want, got) for want, got in asyncio.run(run()) if want != got] == []


@pytest.mark.parametrize("stream", [False, True])
def test_token_ids(client: OpenAI, prompt_ids: list[int], qwen25: Tokenizer, stream: bool) -> None:
    """Those that the model read, and those that it said, but for its end."""
    made: Any = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=stream, extra_body={"return_token_ids": True}
    )
    if stream:
        chunks = [chunk.model_dump() for chunk in made]
        read = [i for chunk in chunks for i in chunk.get("prompt_token_ids") or ()]
        said = [i for chunk in chunks for i in chunk["choices"][0].get("token_ids") or ()]
    else:
        read, said = made.model_dump()["prompt_token_ids"], made.model_dump()["choices"][0]["token_ids"]
    assert read == prompt_ids
    assert said == [qwen25.special_tokens["<|im_start|>"], *qwen25.encode(ANSWER)]
