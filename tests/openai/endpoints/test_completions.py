"""Text completions through the shim: several prompts, echo, the old log probs."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton.errors import InvalidRequest, Unavailable
from qwen_triton.tensors.text_outputs import TextPiece
from tests.support.fake_triton import FakeTriton, answer, completion_body, cut, events, shim_client

PATH = "/v1/completions"


def ask(triton: FakeTriton, **more: Any) -> Any:
    with shim_client(triton) as client:
        reply = client.post(PATH, json=completion_body(**more))
    assert reply.status_code == 200, reply.text
    return reply.json()


def stream(triton: FakeTriton, **more: Any) -> list[Any]:
    with shim_client(triton) as client:
        reply = client.post(PATH, json=completion_body(stream=True, **more))
    assert reply.status_code == 200, reply.text
    return events(reply.text)


def test_a_whole_answer() -> None:
    """OpenAI's shape, to the key."""
    found = ask(FakeTriton([answer("hello", "length")]))
    assert found.pop("id").startswith("cmpl-")
    assert isinstance(found.pop("created"), int)
    assert found == {
        "object": "text_completion",
        "model": "qwen",
        "choices": [{"index": 0, "text": "hello", "logprobs": None, "finish_reason": "length", "stop_reason": None}],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 3,
            "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_a_streamed_answer() -> None:
    """Text chunks, the last with the finish reason, the usage, the end mark."""
    *chunks, usage, end = stream(FakeTriton(cut("hello", 3)), stream_options={"include_usage": True})
    assert [c["choices"][0]["text"] for c in chunks] == ["hel", "lo", ""]
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None, None, "stop"]
    assert {(c["object"], c["usage"]) for c in chunks} == {("text_completion", None)}
    assert (usage["choices"], usage["usage"]["total_tokens"], end) == ([], 8, "[DONE]")


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("a", [("a", None)]),
        (["a", "b"], [("a", None), ("b", None)]),
        ([1, 2], [(None, (1, 2))]),
        ([[1, 2], [3]], [(None, (1, 2)), (None, (3,))]),
    ],
)
def test_all_forms_of_prompts(prompt: Any, sent: list[Any]) -> None:
    """A text, ids, or a list of either: one request to the line for each."""
    triton = FakeTriton()
    found = ask(triton, prompt=prompt)
    assert [(r.prompt, r.token_ids) for r in triton.sent] == sent
    assert [c["index"] for c in found["choices"]] == list(range(len(sent)))
    assert found["usage"]["prompt_tokens"] == 5 * len(sent)


def test_choices_of_several_prompts_are_numbered_by_prompt() -> None:
    """n choices to each: choice i is of prompt i // n, in both modes."""
    says = [[answer("a0"), answer("a1", sequence=1)], [answer("b0"), answer("b1", sequence=1)]]
    whole = ask(FakeTriton(*says), prompt=["a", "b"], n=2)
    assert [(c["index"], c["text"]) for c in whole["choices"]] == [(0, "a0"), (1, "a1"), (2, "b0"), (3, "b1")]
    assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (10, 12)
    chunks = stream(FakeTriton(*says), prompt=["a", "b"], n=2)[:-1]
    assert sorted((c["index"], c["text"]) for e in chunks for c in e["choices"]) == [
        (0, "a0"), (1, "a1"), (2, "b0"), (3, "b1"),
    ]  # fmt: skip


def test_one_bad_prompt_fails_the_request_and_lets_go_of_the_others() -> None:
    """Nothing goes on for an answer that will not be given."""
    triton = FakeTriton([InvalidRequest("the prompt is empty", "text_input")], [TextPiece("x")])
    with shim_client(triton) as client:
        reply = client.post(PATH, json=completion_body(prompt=["a", "b"]))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "prompt")
    assert all(g.cancelled for g in triton.generations)


def test_a_server_that_is_away_says_so() -> None:
    """503 with Retry-After, not a stack trace."""
    with shim_client(FakeTriton([Unavailable("the model server does not answer")])) as client:
        reply = client.post(PATH, json=completion_body())
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


TOKENS = [
    {"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": [{"token": "a", "bytes": [97], "logprob": -0.5},
                                                                    {"token": "b", "bytes": [98], "logprob": -1.5}]},
    {"token": "�", "bytes": [0xE4, 0xBD], "logprob": -0.25, "top_logprobs": []},
    {"token": "�", "bytes": [0xA0], "logprob": -0.25, "top_logprobs": []},
    {"token": "b", "bytes": [98], "logprob": -2.0, "top_logprobs": [{"token": "a", "bytes": [97], "logprob": -0.1}]},
]  # fmt: skip


def test_log_probs_in_the_old_format() -> None:
    """Parallel lists; an offset is the character in the text; the token that was taken is among the likeliest."""
    whole = ask(FakeTriton([answer("a你b", logprobs=TOKENS)]), logprobs=2)["choices"][0]["logprobs"]
    assert whole == {
        "tokens": ["a", "�", "�", "b"],
        "token_logprobs": [-0.5, -0.25, -0.25, -2.0],
        "top_logprobs": [{"a": -0.5, "b": -1.5}, {"�": -0.25}, {"�": -0.25}, {"b": -2.0, "a": -0.1}],
        "text_offset": [0, 1, 1, 2],
    }


def test_streamed_log_probs_go_on_where_they_were() -> None:
    """Joined, the lists of the chunks are those of the whole."""
    pieces = [TextPiece("a", logprobs=TOKENS[:2]), answer("你b", logprobs=TOKENS[2:])]
    chunks = stream(FakeTriton(pieces), logprobs=1)[:-1]
    offsets = [o for c in chunks for o in c["choices"][0]["logprobs"]["text_offset"]]
    assert offsets == [0, 1, 1, 2]


def test_echo_is_the_line_s_business() -> None:
    """The prompt comes back in the text by the model that has the tokenizer."""
    triton = FakeTriton()
    ask(triton, echo=True)
    assert triton.sent[0].echo is True
