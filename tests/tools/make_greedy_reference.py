"""Writes tests/data/openvino_greedy.json: greedy answers of transformers in f32 for the checkpoints of support/checkpoints.py.

    pip install torch==2.13.0 transformers && python -m tests.tools.make_greedy_reference

Prompts where the log probs of the two likeliest tokens ever differ by less than `MIN_GAP` are left out, because there
rounding decides, on any engine.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch  # type: ignore[import-not-found, unused-ignore]  # only whoever makes the table needs it
import transformers  # type: ignore[import-not-found, unused-ignore]  # likewise

from tests.support.checkpoints import CONFIGS, long_prompt, prompts, write_checkpoint
from tests.support.folders import DATA

TABLE = DATA / "openvino_greedy.json"
PROMPTS, NEW_TOKENS, MIN_GAP = 24, 48, 0.02
BEAMS, BEAM_TOKENS = 4, 10


def main() -> None:
    table: dict[str, Any] = {"transformers": transformers.__version__, "torch": torch.__version__, "checkpoints": {}}
    for name in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            path = write_checkpoint(Path(folder) / name, name)
            model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        table["checkpoints"][name] = reference(model)
    TABLE.write_text(json.dumps(table, separators=(",", ":")).replace('{"prompt"', '\n{"prompt"') + "\n")


def reference(model: Any) -> dict[str, Any]:
    candidates = prompts(4 * PROMPTS)
    answers = [answer(model, index, prompt) for index, prompt in enumerate(candidates)]
    clear = [a for a in answers if a.pop("gap") >= MIN_GAP][:PROMPTS]
    long = next(a for a in (answer(model, seed, long_prompt(seed)) for seed in range(50)) if a.pop("gap") >= MIN_GAP)
    first = candidates[clear[1]["prompt"]]
    return {
        "greedy": clear,
        "long": long,
        "repetition_penalty_1.3": generate(model, first, repetition_penalty=1.3).tolist(),
        "beams": beams(model, first),
    }


def answer(model: Any, index: int, prompt: list[int]) -> dict[str, Any]:
    """Greedy ids, their log probs, and the smallest gap between the two likeliest tokens."""
    ids = generate(model, prompt)
    with torch.no_grad():
        scores = model(torch.tensor([prompt + ids.tolist()])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    best = scores.topk(2).values
    chosen = scores.gather(1, ids[:, None])[:, 0]
    return {
        "prompt": index,
        "ids": ids.tolist(),
        "log_probs": [round(value, 5) for value in chosen.tolist()],
        "gap": float((best[:, 0] - best[:, 1]).min()),
    }


def generate(model: Any, prompt: list[int], **options: Any) -> Any:
    return model.generate(**inputs(prompt), max_new_tokens=NEW_TOKENS, **options)[0, len(prompt) :]


def inputs(prompt: list[int]) -> dict[str, Any]:
    """Nothing is padding and nothing ends the answer; left to itself, generate() would take id 0 for padding."""
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    return {"input_ids": ids, "attention_mask": mask, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}


def beams(model: Any, prompt: list[int]) -> list[dict[str, Any]]:
    """All beams, best first; `score` is the mean log prob (length penalty 1)."""
    output = model.generate(
        **inputs(prompt), max_new_tokens=BEAM_TOKENS, num_beams=BEAMS, num_return_sequences=BEAMS,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    rows = zip(output.sequences[:, len(prompt) :].tolist(), output.sequences_scores.tolist(), strict=True)
    return [{"ids": ids, "score": round(score, 5)} for ids, score in rows]


if __name__ == "__main__":
    main()
