"""Trains the demo model: `make demo-model`.

    python -m demo.train demo/checkpoint --minutes 8                 # on a GPU
    python -m demo.train demo/checkpoint --minutes 600 --tokens 8192 # without one

Makes the tokenizer if the folder has none, then learns for a given time; the learning rate falls to nothing at the
end of it. Every minute the folder is a complete checkpoint. At the end it prints the share of held-out prompts that
are answered exactly: the greedy answer is exact if every token of the right one is the likeliest after those before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from .batches import LENGTHS, Batch, Encoder, Producer, batch
from .make_data import EXAMINED, LANGUAGES, questions
from .make_tokenizer import write_tokenizer
from .model import ModelShape, Qwen2

LEARNING_RATE, WARM_UP, COOL_DOWN = 2e-3, 0.02, 0.5
SAVE_EVERY_S = 60


class Training:
    """One model being trained on one device."""

    def __init__(self, folder: Path, device: torch.device, seed: int, learning_rate: float) -> None:
        torch.manual_seed(seed)
        self.folder, self.device = folder, device
        self.model = Qwen2(ModelShape()).to(device)
        self._learning_rate = learning_rate
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.dim() == 2], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, learning_rate, (0.9, 0.98), fused=device.type == "cuda")

    def step(self, made: Batch, progress: float) -> Tensor:
        """Learns one batch; the mean loss of its answers' tokens, still on the device. `progress` goes from 0 to 1."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * _pace(progress)
        loss = self.loss(made)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def loss(self, made: Batch) -> Tensor:
        """The mean loss over the tokens of all answers."""
        logits, targets = self._logits(made)
        return functional.cross_entropy(logits.float(), targets)

    def accuracy(self, encoder: Encoder, each: int) -> dict[str, float]:
        """Task and language to the share of `each` held-out prompts answered exactly, as the saved model would."""
        found: dict[str, float] = {}
        with torch.no_grad(), _rounded(self.model):
            for task in EXAMINED:
                for language in LANGUAGES:
                    asked = islice(questions(task, language, seed=1), each)
                    found[f"{task} {language}"] = self._exact([encoder(c) for c in asked]) / each
        return found

    def save(self) -> None:
        """Writes config.json and model.safetensors, in bf16."""
        ends = json.loads((self.folder / "generation_config.json").read_text())["eos_token_id"]
        config = {**self.model.shape.config(), "bos_token_id": ends[1], "eos_token_id": ends[0]}
        (self.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        weights = {name: p.detach().to("cpu", torch.bfloat16).contiguous() for name, p in self.model.named_parameters()}
        scratch = self.folder / "model.safetensors.part"
        save_file(weights, scratch, {"format": "pt"})
        scratch.chmod(0o644)
        scratch.replace(self.folder / "model.safetensors")

    def resume(self, weights: Path) -> None:
        """Goes on from a file of weights."""
        self.model.load_state_dict(load_file(weights))

    def _logits(self, made: Batch) -> tuple[Tensor, Tensor]:
        ids, positions, targets = (
            torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in (made.token_ids, made.positions, made.targets)
        )
        fast = self.device.type == "cuda" and torch.is_grad_enabled()
        with torch.autocast("cuda", torch.bfloat16) if fast else contextlib.nullcontext():
            return self.model(ids, positions), targets

    def _exact(self, rows: list[tuple[list[int], list[int]]]) -> int:
        exact = 0
        for length in LENGTHS:
            fits = [row for row in rows if len(row[0]) + len(row[1]) <= length]
            rows = [row for row in rows if len(row[0]) + len(row[1]) > length]
            for start in range(0, len(fits), 64):
                exact += self._exact_rows(batch(fits[start : start + 64], length))
        return exact

    def _exact_rows(self, made: Batch) -> int:
        logits, targets = self._logits(made)
        right = (logits.argmax(-1) == targets).cpu()
        return sum(bool(answer.all()) for answer in right.tensor_split(torch.from_numpy(made.starts[1:])))


@contextlib.contextmanager
def _rounded(model: Qwen2) -> Iterator[None]:
    """The model with its weights as they are saved, for a while."""
    full = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.load_state_dict({name: p.to(torch.bfloat16) for name, p in full.items()})
    yield
    model.load_state_dict(full)


def _pace(progress: float) -> float:
    """The learning rate's share: up, level, and down to nothing."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return min(1.0, (1 - progress) / COOL_DOWN) if progress < 1 else 0.0


def train(training: Training, producer: Producer, seconds: float) -> None:
    """Learns for `seconds`, says how it goes and saves every minute."""
    start = saved = time.monotonic()
    losses: list[Tensor] = []
    steps = tokens = 0
    while (progress := (time.monotonic() - start) / seconds) < 1:
        made = producer.next()
        losses.append(training.step(made, progress))
        steps, tokens = steps + 1, tokens + made.token_ids.size
        if training.device.type == "cuda" and steps % 8 == 0:
            torch.cuda.synchronize()  # so that the clock, which sets the learning rate, is that of the device
        if time.monotonic() - saved > min(SAVE_EVERY_S, seconds / 4):
            saved = time.monotonic()
            training.save()
            loss = torch.stack(losses).mean().item()
            losses.clear()
            print(
                f"{saved - start:5.0f} s  {steps} steps  {tokens / 1e6:.0f} M tokens  loss {loss:.4f}  "
                f"{producer.repeated} batches again", flush=True,
            )  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="train the demo model")
    parser.add_argument("folder", type=Path, help="the checkpoint's folder")
    parser.add_argument("--minutes", type=float, default=8, help="how long to learn")
    parser.add_argument("--tokens", type=int, default=49152, help="tokens of a batch")
    parser.add_argument(
        "--processes", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="makers of conversations"
    )
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", type=Path, help="a model.safetensors to go on from")
    parser.add_argument("--examine", type=int, default=200, help="held-out prompts of each task and language")
    return parser.parse_args()


def main() -> None:
    """The command line."""
    options = _options()
    folder: Path = options.folder
    if not (folder / "tokenizer.json").is_file():
        print("training the tokenizer", flush=True)
        write_tokenizer(folder)
    producer = Producer(folder, options.seed, options.tokens, options.processes)
    training = Training(
        folder, torch.device("cuda" if torch.cuda.is_available() else "cpu"), options.seed, options.learning_rate
    )
    if options.resume:
        training.resume(options.resume)
    size = sum(p.numel() for p in training.model.parameters())
    print(f"{size / 1e6:.2f} M parameters on {training.device}", flush=True)
    try:
        train(training, producer, 60 * options.minutes)
    finally:
        producer.stop()
    training.save()
    report(training.accuracy(Encoder(folder), options.examine))


def report(accuracy: dict[str, Any]) -> None:
    """One line a task and language, the mean last."""
    for name, share in accuracy.items():
        print(f"{name:20} {share:7.2%}")
    print(f"mean {math.fsum(accuracy.values()) / len(accuracy):.2%}, lowest {min(accuracy.values()):.2%}")


if __name__ == "__main__":
    main()
