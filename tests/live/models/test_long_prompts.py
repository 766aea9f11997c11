"""Long prompts beside small questions: nobody waits for them, their ids are exact, and they may be taken back meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.tensors.contract import BLS, ENSEMBLE, PREPROCESSING
from qwen_triton.text.tokenizer import Tokenizer
from tests.live.conftest import Serve
from tests.support.live.client import Refused, generate, stream_grpc
from tests.support.live.crowd import Grpc, Received
from tests.support.live.metric_lines import total
from tests.support.live.servers import LiveServer
from tests.support.live.waiting import becomes

pytestmark = pytest.mark.live
CONTEXT = 4_000_000
US = 1_000_000


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LiveServer:
    """A context of four million tokens, so that a prompt takes seconds to tokenize."""
    folder = tmp_path_factory.mktemp("checkpoints") / "qwen2.5"
    shutil.copytree(qwen25_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT}))
    engine = {"kind": "replay", "step_ms": 2.0, "slots": 64, "max_context": CONTEXT}
    return serve({"model": str(folder), "engine": engine})


def words(seed: int, characters: int) -> str:
    """Words that no other text has, so that the tokenizer knows none of them."""
    draw = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyzäöü你好"
    return " ".join("".join(draw.choices(letters, k=draw.randint(2, 12))) for _ in range(characters // 8))


async def asked_beside(server: LiveServer, long: Grpc, model: str) -> tuple[Received, list[str]]:
    """What a long request hears, and the texts of small ones, one after the other, that ended before its first token."""
    heard, texts = Received(), []
    task = asyncio.create_task(long.ask(heard))
    while not (heard.pieces or task.done()):
        small = Received()
        await Grpc(server, model, {"text_input": f"small {len(texts)}", "stream": True}).ask(small)
        texts.append(small.text if not small.error else small.error)
    await task
    return heard, texts[:-1]


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_small_questions_are_answered_while_a_long_prompt_is_made(
    server: LiveServer, qwen25: Tokenizer, model: str
) -> None:
    """Some 900,000 tokens. Both are exact; before, a question came back when the prompt was made."""
    text = words(len(model), 1_500_000)
    inputs = {"text_input": text, "max_tokens": 5, "stream": True}
    heard, texts = asyncio.run(asked_beside(server, Grpc(server, model, inputs), model))
    ids = qwen25.encode(text)
    assert heard.error == ""
    assert (heard.text, int(heard.outputs["num_input_tokens"])) == (qwen25.decode(ids[:5]), len(ids))
    assert len(texts) >= 5
    assert texts == [f"small {n}" for n in range(len(texts))]


def test_every_turn_of_an_agent_has_the_ids_of_the_whole_prompt(
    server: LiveServer, qwen25_folder: Path, qwen25: Tokenizer
) -> None:
    """As the library encodes it whole; what was tokenized for the turn before is taken again, after an edit too."""
    library = tokenizers.Tokenizer.from_file(str(qwen25_folder / "tokenizer.json"))
    template = ChatTemplate.from_folder(qwen25_folder, qwen25)
    chat, hits = [{"role": "system", "content": words(1, 4000)}], [total(server, "token_cache_hits_total", BLS)]
    asked: set[str] = set()
    for turn in range(4):
        chat += [{"role": "user", "content": f"{words(10 + turn, 9000)} e\u0301\n"}]
        if turn == 3:
            chat[1] = {"role": "user", "content": f"\u0301 edited {words(99, 500)}"}
        inputs: dict[str, Any] = {"messages": json.dumps(chat), "max_tokens": 2, "return_token_ids": True}
        ids = json.loads(stream_grpc(server, BLS, inputs)[0]["prompt_ids"])
        assert ids == library.encode(template.render(chat), add_special_tokens=False).ids
        found = sum(len(qwen25.encode(message["content"])) for message in chat if message["content"] in asked)
        assert becomes(lambda: total(server, "token_cache_hits_total", BLS) >= hits[-1] + found, 5)  # noqa: B023
        hits.append(total(server, "token_cache_hits_total", BLS))
        assert hits[-1] - hits[-2] == pytest.approx(found, abs=20)  # a role stands before each text
        asked = {message["content"] for message in chat}
        chat += [{"role": "assistant", "content": f"{words(50 + turn, 1000)}🙂"}]
    assert total(server, "token_cache_bytes", BLS) > 0
    generate(server, PREPROCESSING, QUERY=words(3, 9000), REQUEST_OUTPUT_LEN=1)
    assert becomes(lambda: total(server, "token_cache_bytes", PREPROCESSING) > 0, 5)


def test_a_caller_that_leaves_while_its_prompt_is_made_costs_the_engine_nothing(server: LiveServer) -> None:
    """Those beside it are answered, and nothing stays in flight."""
    before = server.engine_counters()["started"]
    long = Grpc(server, BLS, {"text_input": words(7, 1_500_000), "stream": True}, deadline_s=0.5)
    heard, texts = asyncio.run(asked_beside(server, long, BLS))
    assert (heard.status, heard.pieces) == ("DEADLINE_EXCEEDED", [])
    assert becomes(lambda: total(server, "requests_in_flight", BLS) == 0, 10)
    assert server.engine_counters()["started"] == before + len(texts) + 1
    assert server.is_free()


def test_a_timeout_that_is_over_while_a_prompt_is_made_is_told(server: LiveServer) -> None:
    timeout = Grpc(server, BLS, {"text_input": words(8, 1_500_000), "stream": True}, parameters={"timeout": US // 5})
    heard, texts = asyncio.run(asked_beside(server, timeout, BLS))
    assert "the request's timeout was over before its prompt was made; try again later" in heard.error
    assert texts == [f"small {n}" for n in range(len(texts))]


@pytest.mark.parametrize("model", [BLS, ENSEMBLE])
def test_a_fault_of_a_long_prompt_is_told_to_its_caller_alone(server: LiveServer, model: str) -> None:
    chat = json.dumps([{"role": "user", "content": words(9, 90_000)}, {"role": "nobody", "content": "x"}])
    with pytest.raises(Refused, match=r"messages\[1\].role: must be one of system, user"):
        generate(server, model, messages=chat)
    assert generate(server, model, text_input="one two")["text_output"] == "one two"
