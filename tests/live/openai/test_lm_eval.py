"""lm-eval's `local-completions`, its log likelihoods of the demo's own tasks are those of transformers in f32.

The tool comes with packages of its own, so it lives in an environment of its own, made once in `.cache/`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.evaluate import DEPLOYMENT
from tests.support.folders import DATA
from tests.support.live.servers import serving
from tests.support.live.shims import MODEL, shimming
from tests.support.live.tool_environment import tool_environment

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

PACKAGE = "lm-eval[api]==0.4.13"
TABLE = json.loads((DATA / "demo_choices.json").read_text())
"""The questions, with what transformers says; made by `python -m tests.tools.make_demo_choices`."""
RUN_S = 500.0


def evaluate(url: str, folder: Path) -> list[dict[str, Any]]:
    """One run over all questions, as its users start it; the questions with the tool's own figures."""
    home = tool_environment("lm-eval-0.4.13", PACKAGE)
    questions = folder / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in TABLE["rows"]))
    task = {
        "task": "demo_choices",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(questions)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{query}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    }
    (folder / "demo_choices.yaml").write_text(yaml.safe_dump(task))
    line = [
        *(str(home / "bin" / "lm_eval"), "run", "--model", "local-completions", "--tasks", "demo_choices"),
        *("--model_args", f"model={MODEL},base_url={url}/v1/completions,num_concurrent=4,tokenizer_backend=remote"),
        *("--include_path", str(folder), "--output_path", str(folder / "results"), "--log_samples"),
    ]
    environment = os.environ | {"HOME": str(folder), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=RUN_S, env=environment, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    (samples,) = (folder / "results").rglob("samples_demo_choices_*.jsonl")
    return sorted(map(json.loads, samples.read_text().splitlines()), key=lambda sample: int(sample["doc_id"]))


def test_log_likelihoods_equal_transformers(tmp_path: Path) -> None:
    """To 1e-3, of every choice; the same choice is the likeliest, and the same ones are what the model would say."""
    deployment = {
        **yaml.safe_load(DEPLOYMENT.read_text()),
        "model": str(DEPLOYMENT.parent.parent / "demo" / "checkpoint"),
    }
    with serving(deployment, tmp_path) as server, shimming(server, tmp_path) as shim:
        samples = evaluate(shim.url, tmp_path)
    assert len(samples) == len(TABLE["rows"]) == 100
    for sample, row in zip(samples, TABLE["rows"], strict=True):
        answers = [answer for (answer,) in sample["resps"]]
        assert [float(log_prob) for log_prob, _ in answers] == pytest.approx(row["log_probs"], abs=1e-3)
        assert [str(greedy) == "True" for _, greedy in answers] == row["greedy"]
        best = row["log_probs"].index(max(row["log_probs"]))
        assert sample["acc"] == float(best == row["gold"])
