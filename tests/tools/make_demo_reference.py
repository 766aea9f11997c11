"""Writes tests/data/demo_greedy.json: greedy answers of transformers in f32 to held-out prompts, with the demo checkpoint.

    pip install torch==2.13.0 transformers && python -m tests.tools.make_demo_reference

Two prompts per task and language. Prompts where the log probs of the two likeliest tokens ever differ by less than `MIN_GAP`
are left out, because there rounding decides, on any engine.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import torch  # type: ignore[import-not-found, unused-ignore]  # only whoever makes the table needs it
import transformers  # type: ignore[import-not-found, unused-ignore]  # likewise

from demo.make_data import EXAMINED, LANGUAGES, Conversation, questions
from tests.support.folders import DATA, ROOT

CHECKPOINT = ROOT / "demo" / "checkpoint"
TABLE = DATA / "demo_greedy.json"
EACH, SEED, NEW_TOKENS, MIN_GAP = 2, 4, 64, 0.05


def main() -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(CHECKPOINT)
    sent = [c for task in EXAMINED for lang in LANGUAGES for c in islice(questions(task, lang, SEED), EACH)]
    rows = [row for row in (answer(model, tokenizer, c) for c in sent) if row.pop("gap") >= MIN_GAP]
    table = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "new_tokens": NEW_TOKENS,
        "rows": rows,
    }
    TABLE.write_text(
        json.dumps(table, ensure_ascii=False, separators=(",", ":")).replace('{"task"', '\n{"task"') + "\n"
    )
    print(f"{len(rows)} of {len(sent)} prompts")


def answer(model: Any, tokenizer: Any, conversation: Conversation) -> dict[str, Any]:
    """The prompt's ids, the greedy ids up to the end, and the smallest gap in log probs of the two likeliest tokens."""
    example = conversation.example
    options = {"enable_thinking": True} if conversation.thinking else {}
    text = tokenizer.apply_chat_template(
        example.messages, tools=example.tools or None, add_generation_prompt=True, tokenize=False, **options
    )
    prompt = tokenizer.encode(text, add_special_tokens=False)
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    new = model.generate(ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False)[
        0, len(prompt) :
    ].tolist()
    with torch.no_grad():
        scores = model(torch.tensor([prompt + new])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    best = scores.topk(2).values
    gap = float((best[:, 0] - best[:, 1]).min())
    return {"task": conversation.task, "prompt": prompt, "answer": new, "gap": gap}


if __name__ == "__main__":
    main()
