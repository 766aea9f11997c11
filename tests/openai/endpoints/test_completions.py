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


PROMPT = [
    {"id": 5, "token": "q", "bytes": [113], "logprob": None, "top_logprobs": []},
    {"id": 7, "token": "?", "bytes": [63], "logprob": -3.0, "top_logprobs": [
        {"id": 6, "token": "!", "bytes": [33], "logprob": -0.5}, {"id": 7, "token": "?", "bytes": [63], "logprob": -3.0}]},
    {"id": 9, "token": "x", "bytes": [120], "logprob": -9.0, "top_logprobs": [
        {"id": 6, "token": "!", "bytes": [33], "logprob": -0.25}, {"id": 7, "token": "?", "bytes": [63], "logprob": -2.0}]},
]  # fmt: skip


def test_log_probs_of_an_echoed_prompt() -> None:
    """Before those of the answer, in text and lists; the first token has none."""
    triton = FakeTriton([answer("q?xab", logprobs=[TOKENS[0], TOKENS[3]], prompt_logprobs=PROMPT)])
    [found] = ask(triton, echo=True, logprobs=1)["choices"]
    assert (triton.sent[0].echo, triton.sent[0].sampling.prompt_logprobs) == (True, 1)
    assert "prompt_logprobs" not in found
    assert found["logprobs"] == {
        "tokens": ["q", "?", "x", "a", "b"],
        "token_logprobs": [None, -3.0, -9.0, -0.5, -2.0],
        "top_logprobs": [
            None, {"?": -3.0, "!": -0.5}, {"x": -9.0, "!": -0.25}, {"a": -0.5, "b": -1.5}, {"b": -2.0, "a": -0.1},
        ],
        "text_offset": [0, 1, 2, 3, 4],
    }  # fmt: skip


def test_a_prompt_that_is_scored_has_one_token_behind_it() -> None:
    """Harnesses cut it off by its place, so an end token must not be left out of the lists; longer answers may end."""
    triton = FakeTriton([answer("q", logprobs=TOKENS[:1], prompt_logprobs=PROMPT)])
    for given in ({"max_tokens": 1}, {"max_tokens": 2}, {}):
        ask(triton, echo=True, logprobs=1, **given)
    ask(triton, logprobs=1, max_tokens=1)
    assert [request.stop.ignore_eos for request in triton.sent] == [True, False, False, False]


def test_log_probs_of_a_prompt_in_vllm_s_form() -> None:
    """By id, the token's own first; the rank of one that is not among the likeliest is not known."""
    triton = FakeTriton([answer("ab", prompt_logprobs=PROMPT)])
    [found] = ask(triton, prompt_logprobs=2)["choices"]
    assert (triton.sent[0].sampling.prompt_logprobs, found["logprobs"], found["text"]) == (2, None, "ab")
    likeliest = {"logprob": -0.25, "rank": 1, "decoded_token": "!"}
    second = {"logprob": -2.0, "rank": 2, "decoded_token": "?"}
    assert found["prompt_logprobs"] == [
        None,
        {
            "7": {"logprob": -3.0, "rank": 2, "decoded_token": "?"},
            "6": {"logprob": -0.5, "rank": 1, "decoded_token": "!"},
        },
        {"9": {"logprob": -9.0, "rank": None, "decoded_token": "x"}, "6": likeliest, "7": second},
    ]


def test_both_forms_have_as_many_as_each_asks_for() -> None:
    """The model is asked for the most."""
    triton = FakeTriton([answer("q?xa", logprobs=TOKENS[:1], prompt_logprobs=PROMPT)])
    [found] = ask(triton, echo=True, logprobs=2, prompt_logprobs=1)["choices"]
    assert triton.sent[0].sampling.prompt_logprobs == 2
    assert found["logprobs"]["top_logprobs"][2] == {"x": -9.0, "!": -0.25, "?": -2.0}
    assert list(found["prompt_logprobs"][2]) == ["9", "6"]


def test_every_choice_of_a_prompt_has_its_log_probs() -> None:
    """Of two prompts with two choices each; the model sends them once."""
    other = [{**PROMPT[0], "token": "z"}, PROMPT[1]]
    says = [
        [answer(t, sequence=i, logprobs=TOKENS[:1], prompt_logprobs=None if i else p) for i, t in enumerate("ab")]
        for p in (PROMPT, other)
    ]
    found = ask(FakeTriton(*says), prompt=["q?x", "z?"], n=2, echo=True, logprobs=0, prompt_logprobs=0)["choices"]
    assert [c["logprobs"]["tokens"] for c in found] == [["q", "?", "x", "a"]] * 2 + [["z", "?", "a"]] * 2
    assert [len(c["prompt_logprobs"]) for c in found] == [3, 3, 2, 2]
    assert [c["logprobs"]["token_logprobs"][1] for c in found] == [-3.0] * 4


def test_streamed_log_probs_of_a_prompt_come_with_the_first_chunk() -> None:
    """Joined, the chunks are the whole answer."""
    pieces = [TextPiece("q?xa", logprobs=TOKENS[:1], prompt_logprobs=PROMPT), answer("b", logprobs=TOKENS[3:])]
    first, second = [c["choices"][0] for c in stream(FakeTriton(pieces), echo=True, logprobs=1, prompt_logprobs=1)[:-1]]
    [whole] = ask(FakeTriton(pieces), echo=True, logprobs=1, prompt_logprobs=1)["choices"]
    joined = {key: first["logprobs"][key] + second["logprobs"][key] for key in first["logprobs"]}
    assert (joined, first["text"] + second["text"]) == (whole["logprobs"], whole["text"])
    assert (first["prompt_logprobs"], "prompt_logprobs" in second) == (whole["prompt_logprobs"], False)


@pytest.mark.parametrize(
    ("given", "name"), [({"echo": True, "logprobs": 0}, "echo"), ({"prompt_logprobs": 0}, "prompt_logprobs")]
)
def test_an_engine_s_refusal_names_what_was_sent(given: dict[str, Any], name: str) -> None:
    """Who gave `echo` and `logprobs` knows no other word."""
    fault = InvalidRequest("the tensorrtllm engine does not support it; leave it out", "prompt_logprobs")
    with shim_client(FakeTriton([fault])) as client:
        found = client.post(PATH, json=completion_body(**given)).json()["error"]
    assert (found["param"], found["message"]) == (
        name, f"{name}: the tensorrtllm engine does not support it; leave it out",
    )  # fmt: skip


def test_echo_is_the_line_s_business() -> None:
    """The prompt comes back in the text by the model that has the tokenizer."""
    triton = FakeTriton()
    ask(triton, echo=True)
    assert triton.sent[0].echo is True


def test_token_ids_are_each_choice_s() -> None:
    """Those of its prompt too, as vLLM has them; in a stream with each chunk, of the prompt with the first."""
    said = [TextPiece("a", token_ids=[7], prompt_ids=[1, 2]), answer("b", token_ids=[8])]
    found = ask(FakeTriton(said), return_token_ids=True, prompt=["x", "y"])
    assert [(c["token_ids"], c["prompt_token_ids"]) for c in found["choices"]] == [([7, 8], [1, 2])] * 2
    *chunks, _ = stream(FakeTriton(said), return_token_ids=True)
    assert [c["choices"][0]["token_ids"] for c in chunks] == [[7], [8]]
    assert ["prompt_token_ids" in c["choices"][0] for c in chunks] == [True, False]
    assert "token_ids" not in ask(FakeTriton())["choices"][0]
