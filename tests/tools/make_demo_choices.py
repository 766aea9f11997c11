"""Writes tests/data/demo_choices.json: multiple-choice questions of the demo's own tasks, with transformers' log probs in f32.

    pip install torch==2.13.0 transformers && python -m tests.tools.make_demo_choices

A question is a held-out prompt as the chat template renders it; its choices are the right answer and those of three other
held-out prompts of its task. Every other question ends with the first half of its answer, so that the rest of it is what
the model would say. A choice's tokens are what a prompt with the choice has more than the prompt alone, blanks at
the prompt's end counted to the choice, and they stand behind the tokens of the prompt alone, as lm-eval cuts them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import torch  # type: ignore[import-not-found, unused-ignore]  # only whoever makes the table needs it
import transformers  # type: ignore[import-not-found, unused-ignore]  # likewise

from demo.make_data import LANGUAGES, questions
from tests.support.folders import DATA, ROOT

CHECKPOINT = ROOT / "demo" / "checkpoint"
TABLE = DATA / "demo_choices.json"
COUNT, CHOICES, SEED, MOST_TRIES = 100, 4, 7, 200
TASKS = (
    "repeat", "reverse", "count_words", "add", "sort", "spell_number", "continue_list", "json_form", "call_tool", "use_answer",
)  # fmt: skip
"""Those whose answers differ from question to question."""
LONGEST = 160
"""Characters of a choice: the table is for log probs, not for long texts."""


def main() -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(CHECKPOINT)
    rows = [score(model, tokenizer, item) for item in items(tokenizer)]
    table = {"transformers": transformers.__version__, "torch": torch.__version__, "rows": rows}
    TABLE.write_text(
        json.dumps(table, ensure_ascii=False, separators=(",", ":")).replace('{"query"', '\n{"query"') + "\n"
    )
    right = sum(row["log_probs"].index(max(row["log_probs"])) == row["gold"] for row in rows)
    print(f"{right} of {len(rows)} right")


def items(tokenizer: Any) -> Iterator[dict[str, Any]]:
    """COUNT questions, task by task in turn."""
    rng = random.Random(SEED)
    kinds = [(task, language) for task in TASKS for language in LANGUAGES]
    asked = {kind: questions(*kind, SEED) for kind in kinds}
    for number in range(COUNT):
        kind = kinds[number % len(kinds)]
        first, *others = _different(asked[kind])
        answers = [first.answer, *(other.answer for other in others)]
        order = rng.sample(range(CHOICES), CHOICES)
        query = tokenizer.apply_chat_template(
            first.messages, tools=first.tools or None, add_generation_prompt=True, tokenize=False
        )
        begun = _beginning(answers[0]) if number % 2 else 0
        rests = [answer[begun:] for answer in answers]
        if begun and len({*rests} - {""}) == CHOICES:
            query, answers = query + answers[0][:begun], rests
        yield {"query": query, "choices": [answers[place] for place in order], "gold": order.index(0)}


def _beginning(answer: str) -> int:
    """Where a half of an answer ends that does not end with a blank; 0 where there is none."""
    return next((at for at in range(len(answer) // 2, 0, -1) if not answer[at - 1].isspace()), 0)


def _different(asked: Any) -> list[Any]:
    """As many examples with short answers that differ as a question has choices."""
    found: dict[str, Any] = {}
    for _, one in zip(range(MOST_TRIES), asked, strict=False):
        if 0 < len(one.example.answer) <= LONGEST:
            found.setdefault(one.example.answer, one.example)
        if len(found) == CHOICES:
            return list(found.values())
    raise AssertionError("a task has too few answers")


def score(model: Any, tokenizer: Any, item: dict[str, Any]) -> dict[str, Any]:
    """The item with the log prob of each choice, and whether each of its tokens is the likeliest one."""
    query = tokenizer.encode(item["query"].rstrip(), add_special_tokens=False)
    before = len(query)
    both = [tokenizer.encode(item["query"] + choice, add_special_tokens=False) for choice in item["choices"]]
    rows = [[*query, *ids[before:]] for ids in both]
    longest = max(map(len, rows))
    with torch.no_grad():  # padded behind, which a causal model does not look at
        every = model(torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in rows])).logits
    log_probs, greedy = [], []
    for logits, ids in zip(every, rows, strict=True):
        scores = logits[before - 1 : len(ids) - 1].log_softmax(-1)
        log_probs.append(round(float(scores.gather(1, torch.tensor(ids[before:])[:, None]).sum()), 5))
        greedy.append(scores.argmax(1).tolist() == ids[before:])
    return {**item, "log_probs": log_probs, "greedy": greedy}


if __name__ == "__main__":
    main()
