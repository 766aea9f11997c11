"""Chat completions through the shim, whole and streamed, over a server that says what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton.errors import Cancelled, EngineError, InvalidRequest, QwenTritonError, Unavailable
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import ToolChoice, Usage
from tests.support.fake_triton import FakeTriton, answer, chat_body, cut, deltas, events, shim_client
from tests.support.shim_requests import CHAT, error

PATH = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "get_time"}}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京"}}\n</tool_call>'
USAGE = {
    "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 0},
}  # fmt: skip


def ask(triton: FakeTriton, **more: Any) -> Any:
    with shim_client(triton) as client:
        reply = client.post(PATH, json=chat_body(**more))
    assert reply.status_code == 200, reply.text
    return reply.json()


def stream(triton: FakeTriton, **more: Any) -> str:
    with shim_client(triton) as client:
        reply = client.post(PATH, json=chat_body(stream=True, **more))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    return reply.text


def joined(body: str, key: str, index: int = 0) -> str:
    return "".join(d[key] for d in deltas(body, index) if d.get(key))


def streamed_calls(body: str) -> list[dict[str, Any]]:
    """Tool calls as a client puts them together."""
    calls: dict[int, dict[str, Any]] = {}
    for delta in deltas(body):
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                calls[call["index"]] = {k: v for k, v in call.items() if k != "index"}
            else:
                calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    return list(calls.values())


def finish_reasons(body: str) -> list[str]:
    return [c["finish_reason"] for e in events(body)[:-1] for c in e["choices"] if c["finish_reason"]]


@pytest.mark.parametrize("streamed", [False, True])
def test_token_ids_are_those_of_prompt_and_choices(streamed: bool) -> None:
    """As vLLM has them: in a stream with each chunk, those of the prompt with the first; also of tokens without a delta."""
    said = [
        TextPiece("<think>", token_ids=[7], prompt_ids=[1, 2]),
        TextPiece("\n</think>\n\nhel", token_ids=[8, 9]),
        answer("lo", token_ids=[10]),
    ]
    triton = FakeTriton(said)
    if not streamed:
        found = ask(triton, return_token_ids=True)
        assert (found["prompt_token_ids"], found["choices"][0]["token_ids"]) == ([1, 2], [7, 8, 9, 10])
        return
    chunks = events(stream(triton, return_token_ids=True))[:-1]
    assert [c["prompt_token_ids"] for c in chunks if "prompt_token_ids" in c] == [[1, 2]]
    assert "prompt_token_ids" in chunks[0]
    assert [c["choices"][0]["token_ids"] for c in chunks if "token_ids" in c["choices"][0]] == [[7], [8, 9], [10]]
    assert triton.sent[0].return_token_ids


def test_a_whole_answer() -> None:
    """OpenAI's shape, to the key."""
    found = ask(FakeTriton([answer("hello")]))
    assert found.pop("id").startswith("chatcmpl-")
    assert isinstance(found.pop("created"), int)
    assert found == {
        "object": "chat.completion",
        "model": "qwen",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": None,
            }
        ],
        "usage": USAGE,
    }


def test_a_streamed_answer() -> None:
    """Role first, then text, then the finish reason, then the end mark; all chunks are of one completion."""
    body = stream(FakeTriton(cut("hello", 3)))
    *chunks, end = events(body)
    assert end == "[DONE]"
    assert {(c["id"], c["object"], c["model"]) for c in chunks} == {(chunks[0]["id"], "chat.completion.chunk", "qwen")}
    assert deltas(body) == [{"role": "assistant", "content": ""}, {"content": "hel"}, {"content": "lo"}, {}]
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None, None, None, "stop"]
    assert not any("usage" in c for c in chunks)


def test_usage_is_the_last_chunk_when_asked_for() -> None:
    """OpenAI's form: no choices there, null before."""
    *chunks, last, _ = events(stream(FakeTriton(cut("hello", 3)), stream_options={"include_usage": True}))
    assert [c["usage"] for c in chunks] == [None] * 4
    assert (last["choices"], last["usage"]) == ([], USAGE)


def test_usage_with_each_chunk() -> None:
    """As in vLLM: what has been counted so far, nothing for the role; the last chunk of the choice has the whole."""
    pieces = [TextPiece("he", usage=Usage(5, 1)), answer("llo")]
    triton = FakeTriton(pieces)
    options = {"include_usage": True, "continuous_usage_stats": True}
    *chunks, last, _ = events(stream(triton, stream_options=options))
    assert [c["usage"]["completion_tokens"] for c in chunks] == [0, 1, 3, 3]
    assert [c["usage"]["prompt_tokens"] for c in chunks] == [5] * 4
    assert (last["choices"], last["usage"]) == ([], USAGE)
    assert triton.sent[0].count_pieces


def test_usage_with_each_chunk_is_a_part_of_include_usage() -> None:
    """As in vLLM: without it no chunk has a usage."""
    triton = FakeTriton([TextPiece("he"), answer("llo")])
    *chunks, _ = events(stream(triton, stream_options={"continuous_usage_stats": True}))
    assert [c for c in chunks if "usage" in c] == []
    assert not triton.sent[0].count_pieces


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_the_finish_reason_is_the_engine_s(finish: str) -> None:
    """Never a constant."""
    assert ask(FakeTriton([answer("x", finish)]))["choices"][0]["finish_reason"] == finish
    assert finish_reasons(stream(FakeTriton([answer("x", finish)]))) == [finish]


def test_the_stop_string_is_told() -> None:
    """As vLLM does, so that a client with several can tell which it was."""
    said = [answer("x", stop_reason="###")]
    assert ask(FakeTriton(said), stop=["###"])["choices"][0]["stop_reason"] == "###"
    assert events(stream(FakeTriton(said), stop=["###"]))[-2]["choices"][0]["stop_reason"] == "###"


def test_cached_tokens_are_told() -> None:
    """Where the engine knows them."""
    usage = ask(FakeTriton([answer("x", cached=4)]))["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4}


def test_several_answers_are_counted_once_for_the_prompt() -> None:
    """n choices in order, completion tokens of all."""
    found = ask(FakeTriton([answer("a"), answer("b", "length", 1)]), n=2)
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in found["choices"]] == [
        (0, "a", "stop"), (1, "b", "length"),
    ]  # fmt: skip
    assert (found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"]) == (5, 6)


def test_several_streamed_answers_keep_apart() -> None:
    """Each choice has its own role, text and end."""
    body = stream(
        FakeTriton([TextPiece("a", 0), TextPiece("b", 1), answer("a", "stop", 0), answer("b", "length", 1)]), n=2
    )
    assert (joined(body, "content", 0), joined(body, "content", 1)) == ("aa", "bb")
    assert finish_reasons(body) == ["stop", "length"]
    assert deltas(body, 1)[0] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_thinking_is_reasoning_content(size: int) -> None:
    """However a tag is cut."""
    text = "<think>\nhm, 好\n</think>\n\nhello"
    body = stream(FakeTriton(cut(text, size)))
    assert (joined(body, "reasoning_content"), joined(body, "content")) == ("hm, 好", "hello")
    message = ask(FakeTriton([answer(text)]))["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm, 好", "hello")


@pytest.mark.parametrize("size", [1, 3, 100])
def test_thinking_that_the_template_opened(size: int) -> None:
    """The server says so with the first piece; the answer then has no opening tag."""
    first, *rest = cut("hm\n</think>\n\nhello", size)
    body = stream(FakeTriton([first._replace(reasoning_opened=True), *rest]))
    assert (joined(body, "reasoning_content"), joined(body, "content")) == ("hm", "hello")


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_calls_are_tool_calls(size: int) -> None:
    """Text before them is content; several at once; arguments in pieces; the finish reason says so."""
    text = f"let me see\n{CALL}\n{CALL}"
    body = stream(FakeTriton(cut(text, size)), tools=[TOOL])
    calls = streamed_calls(body)
    assert [c["function"] for c in calls] == [{"name": "get_weather", "arguments": '{"city": "北京"}'}] * 2
    assert len({c["id"] for c in calls}) == 2
    assert all(c["id"].startswith("call_") and c["type"] == "function" for c in calls)
    assert (joined(body, "content"), finish_reasons(body)) == ("let me see", ["tool_calls"])


def test_whole_calls_are_tool_calls() -> None:
    """Content is null when there is nothing but calls."""
    choice = ask(FakeTriton([answer(CALL)]), tools=[TOOL])["choices"][0]
    assert choice["message"]["content"] is None
    assert [c["function"]["name"] for c in choice["message"]["tool_calls"]] == ["get_weather"]
    assert choice["finish_reason"] == "tool_calls"


def test_an_answer_that_was_cut_off_says_so() -> None:
    """A call that has not ended is no reason to say tool_calls."""
    body = stream(FakeTriton(cut(CALL[:-20], 9, "length")), tools=[TOOL])
    assert (len(streamed_calls(body)), finish_reasons(body)) == (1, ["length"])


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [
        ("see <tool_ca", "content", "see <tool_ca"),
        ("<think>\nhm </thi", "reasoning_content", "hm </thi"),
        ("<thi", "content", "<thi"),
    ],
)
def test_what_was_held_back_comes_with_the_end(text: str, key: str, shown: str) -> None:
    """A beginning of a tag that never became one is text."""
    assert joined(stream(FakeTriton(cut(text, 3)), tools=[TOOL]), key) == shown
    assert ask(FakeTriton([answer(text)]), tools=[TOOL])["choices"][0]["message"][key] == shown


def test_what_is_no_call_is_text() -> None:
    """A malformed call comes back word for word."""
    text = '<tool_call>\n{"nome": oops}\n</tool_call>'
    assert ask(FakeTriton([answer(text)]), tools=[TOOL])["choices"][0]["message"]["content"] == text
    assert joined(stream(FakeTriton(cut(text, 4)), tools=[TOOL]), "content") == text


@pytest.mark.parametrize("given", [{}, {"tools": [TOOL], "tool_choice": "none"}])
def test_without_tools_no_call_is_read(given: dict[str, Any]) -> None:
    """And with tool_choice none the model does not see the tools."""
    triton = FakeTriton([answer(CALL)])
    choice = ask(triton, **given)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (CALL, "stop")
    assert triton.sent[0].tools == ()


NAMED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.mark.parametrize(
    ("choice", "tools", "begun"),
    [
        ("required", [TOOL], '<tool_call>\n{"name": "get_weather", "arguments":'),
        ("required", [TOOL, OTHER], '<tool_call>\n{"name":'),
        (NAMED, [TOOL, OTHER], '<tool_call>\n{"name": "get_weather", "arguments":'),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_call_that_must_come_is_begun(choice: Any, tools: list[Any], begun: str, size: int) -> None:
    """The prompt ends with the call's beginning, and what the model adds to it is read as the call."""
    triton = FakeTriton(cut(CALL.removeprefix(begun), size))
    body = stream(triton, tools=tools, tool_choice=choice)
    assert triton.sent[0].tool_choice == ToolChoice.read(choice)
    assert [c["function"]["arguments"] for c in streamed_calls(body)] == ['{"city": "北京"}']
    assert finish_reasons(body) == ["tool_calls"]


@pytest.mark.parametrize(
    "choice", ["any", {"type": "function"}, {"type": "function", "function": {"name": "no_such"}}, {"function": 3}]
)
def test_a_tool_choice_that_cannot_be(choice: Any) -> None:
    """Names no function of the tools, or is none of the forms."""
    with shim_client() as client:
        reply = client.post(PATH, json=chat_body(tools=[TOOL], tool_choice=choice))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "tool_choice")


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_one_call_at_most(size: int) -> None:
    """parallel_tool_calls false: the model ends the answer with its first call; no stop string is added."""
    triton = FakeTriton(cut(f"{CALL}\n{CALL} b", size))
    given: dict[str, Any] = {"tools": [TOOL], "parallel_tool_calls": False, "stop": "###"}
    body = stream(triton, **given)
    assert triton.sent[0].stop.strings == ("###",)
    assert not triton.sent[0].parallel_tool_calls
    assert (len(streamed_calls(body)), joined(body, "content"), finish_reasons(body)) == (1, "", ["tool_calls"])
    choice = ask(FakeTriton([answer(f"{CALL}\n{CALL} b")]), **given)["choices"][0]
    assert (len(choice["message"]["tool_calls"]), choice["message"]["content"]) == (1, None)


def test_a_tag_in_an_argument_is_no_end() -> None:
    """Neither streamed nor whole."""
    text = '<tool_call>\n{"name":"write","arguments":{"text":"close with </tool_call> ok"}}\n</tool_call>'
    given: dict[str, Any] = {"tools": [TOOL], "parallel_tool_calls": False}
    body = stream(FakeTriton(cut(text, 3)), **given)
    assert [c["function"]["arguments"] for c in streamed_calls(body)] == ['{"text":"close with </tool_call> ok"}']
    message = ask(FakeTriton([answer(text)]), **given)["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["arguments"] == '{"text":"close with </tool_call> ok"}'


@pytest.mark.parametrize("finish", ["length", "stop"])
def test_a_call_that_was_cut_is_the_same_whole_and_streamed(finish: str) -> None:
    """Its arguments have been sent when the answer is cut; the reason says that it is not complete."""
    text = f"let me see {CALL}\n{CALL[:-18]}"
    body = stream(FakeTriton(cut(text, 4, finish)), tools=[TOOL])  # type: ignore[arg-type]  # one of the two
    choice = ask(FakeTriton([answer(text, finish)]), tools=[TOOL])["choices"][0]  # type: ignore[arg-type]
    arguments = ['{"city": "北京"}', '{"city": "']
    assert [c["function"]["arguments"] for c in streamed_calls(body)] == arguments
    assert [c["function"]["arguments"] for c in choice["message"]["tool_calls"]] == arguments
    assert (choice["message"]["content"], joined(body, "content")) == ("let me see", "let me see")
    assert (choice["finish_reason"], finish_reasons(body)) == (finish, [finish])


@pytest.mark.parametrize("size", [1, 1000])
def test_a_forced_call_that_fails_shows_the_model_s_words_alone(size: int) -> None:
    """What we wrote before them is not among them."""
    given: dict[str, Any] = {"tools": [TOOL], "tool_choice": NAMED}
    body = stream(FakeTriton(cut(" I cannot.", size)), **given)
    assert (joined(body, "content"), streamed_calls(body), finish_reasons(body)) == (" I cannot.", [], ["stop"])
    assert ask(FakeTriton([answer(" I cannot.")]), **given)["choices"][0]["message"]["content"] == " I cannot."


def test_a_call_that_the_caller_began_is_read() -> None:
    """By `answer_prefix`; the answer has the rest."""
    given: dict[str, Any] = {"tools": [TOOL], "chat_template_kwargs": {"answer_prefix": "Sure.\n<tool_call>\n"}}
    text = CALL.removeprefix("<tool_call>\n")
    body = stream(FakeTriton(cut(text, 3)), **given)
    assert (joined(body, "content"), finish_reasons(body)) == ("", ["tool_calls"])
    assert [c["function"]["arguments"] for c in streamed_calls(body)] == ['{"city": "北京"}']
    assert ask(FakeTriton([answer(text)]), **given)["choices"][0]["finish_reason"] == "tool_calls"


def test_a_call_in_thinking_that_nothing_follows_is_the_call() -> None:
    """Whole and streamed; a draft stays thinking."""
    text = f"I should look.\n{CALL}"
    first, *rest = cut(text, 3)
    body = stream(FakeTriton([first._replace(reasoning_opened=True), *rest]), tools=[TOOL])
    assert (joined(body, "reasoning_content"), joined(body, "content")) == ("I should look.", "")
    assert (len(streamed_calls(body)), finish_reasons(body)) == (1, ["tool_calls"])
    opened = {"reasoning_opened": True}
    choice = ask(FakeTriton([answer(text, **opened)]), tools=[TOOL])["choices"][0]
    assert (choice["message"]["reasoning_content"], choice["finish_reason"]) == ("I should look.", "tool_calls")
    draft = ask(FakeTriton([answer(f"{text} or not", **opened)]), tools=[TOOL])["choices"][0]
    assert (draft["message"]["reasoning_content"], draft["finish_reason"]) == (f"{text} or not", "stop")


def test_content_is_null_only_where_there_are_calls_alone() -> None:
    """From the first chunk on; an empty answer is the empty text."""
    assert [d["content"] for d in deltas(stream(FakeTriton(cut(CALL, 9)), tools=[TOOL])) if "content" in d] == [None]
    assert [d.get("content") for d in deltas(stream(FakeTriton([answer("")])))] == [None, ""]
    assert ask(FakeTriton([answer("")]))["choices"][0]["message"]["content"] == ""


def test_choices_begin_in_order() -> None:
    """Clients put them in a list as they begin."""
    body = stream(FakeTriton([TextPiece("b", 2), answer("a"), answer("", "stop", 1), answer("c", "stop", 2)]), n=3)
    begun = [c["choices"][0]["index"] for c in events(body)[:-1] if "role" in c["choices"][0]["delta"]]
    assert begun == [0, 1, 2]
    assert [joined(body, "content", index) for index in range(3)] == ["a", "", "bc"]


def test_log_probs_go_with_their_text() -> None:
    """All tokens' once, also those whose text is held back or is markup."""
    tokens = [{"token": t, "bytes": list(t.encode()), "logprob": -0.5, "top_logprobs": []} for t in ("<", "b", "")]
    pieces = [
        TextPiece("<", logprobs=tokens[:1]),
        TextPiece("b", logprobs=tokens[1:2]),
        answer("", logprobs=tokens[2:]),
    ]
    chunks = events(stream(FakeTriton(pieces), logprobs=True))[:-1]
    shown = [c["choices"][0]["logprobs"] for c in chunks]
    assert [t for one in shown if one for t in one["content"]] == tokens
    both = [answer("<think>a</think>b", logprobs=tokens)]
    shown = [c["choices"][0]["logprobs"] for c in events(stream(FakeTriton(both), logprobs=True))[:-1]]
    assert [one for one in shown if one] == [{"content": tokens, "refusal": None}]
    whole = ask(FakeTriton([answer("<b", logprobs=tokens)]), logprobs=True)
    assert whole["choices"][0]["logprobs"] == {"content": tokens, "refusal": None}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "param", "code"),
    [
        (InvalidRequest("must be one of", "messages[0].role"), 400, "messages[0].role", "invalid_value"),
        (InvalidRequest("the prompt has 9 tokens; the context of 8 is full", "text_input"), 400, "messages",
         "context_length_exceeded"),
        (InvalidRequest("This model's maximum context length is 8 tokens. However, the prompt resulted in 9", "text_input"),
         400, "messages", "context_length_exceeded"),
        (InvalidRequest("the replay engine does not support it", "embedding_bias"), 400, "logit_bias", "invalid_value"),
        (InvalidRequest("half of a surrogate pair", "stop_words"), 400, "stop", "invalid_value"),
        (Unavailable("64 requests are in flight"), 503, None, "overloaded"),
        (Cancelled("the request was cancelled"), 503, None, "cancelled"),
        (EngineError("internal error; the server's log has the cause under request 7"), 500, None, "internal_error"),
    ],
)  # fmt: skip
def test_what_fails_at_once_has_openai_s_status(
    error: QwenTritonError, status: int, param: str | None, code: str, streamed: bool
) -> None:
    """In both modes; who may try again is told when."""
    with shim_client(FakeTriton([error])) as client:
        reply = client.post(PATH, json=chat_body(stream=streamed))
    fault = reply.json()["error"]
    assert (reply.status_code, fault["param"], fault["code"]) == (status, param, code)
    assert str(error).split(": ", 1)[-1] in fault["message"] or status == 503
    assert ("retry-after" in reply.headers) == (code == "overloaded")


@pytest.mark.parametrize("error", [EngineError("died"), ValueError("a bug")])
def test_an_error_in_mid_stream_is_an_event_and_the_end(error: Exception) -> None:
    """What was said stays said; no end mark pretends that it was all."""
    body = stream(FakeTriton([TextPiece("hel"), error]))
    *chunks, last = events(body)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "hel"
    assert (last["error"]["type"], set(last["error"])) == ("server_error", {"message", "type", "param", "code"})
    assert "[DONE]" not in body
    assert "a bug" not in body


def test_a_request_that_the_server_took_back_is_no_answer() -> None:
    """The line's word «cancelled» is no finish reason of OpenAI's."""
    with shim_client(FakeTriton([answer("x", "cancelled")])) as client:
        assert client.post(PATH, json=chat_body()).status_code == 503


def test_messages_have_a_limit() -> None:
    """400, naming them."""
    messages = [{"role": "user", "content": "hi"}] * 3
    with shim_client(max_messages=2) as client:
        reply = client.post(CHAT, json=chat_body(messages=messages))
    assert error(reply) == (400, "invalid_request_error", "too_many_messages")
    assert reply.json()["error"]["param"] == "messages"


@pytest.mark.parametrize("known", [3, 0, None])
def test_tokens_of_thinking_are_told_where_they_are_counted(known: int | None) -> None:
    """Whole and streamed, summed over the choices."""
    pieces = [TextPiece("a", n, "stop", usage=Usage(5, 4, 0, known)) for n in (0, 1)]
    expected = None if known is None else {"reasoning_tokens": 2 * known}
    assert ask(FakeTriton(pieces), n=2)["usage"].get("completion_tokens_details") == expected
    *_, last, _ = events(stream(FakeTriton(pieces), n=2, stream_options={"include_usage": True}))
    assert last["usage"].get("completion_tokens_details") == expected
