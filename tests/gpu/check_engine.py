"""Checks the vLLM engine on a real GPU and a real vLLM: python -m tests.gpu.check_engine CHECKPOINT

Greedy ids are compared with transformers' on the same GPU, in bf16; where the logits of two ids are closer than bf16 can
tell, either id is right, and such places are counted. How close that is is measured: bf16 moves transformers' own logits
away from float32's, and twice the widest of these moves may part two ids, or a log prob from the true one. So are those
with a LoRA adapter of random numbers, against the model with the adapter's product added to its weights. Further:
cancelling frees the cache, prefixes are found, seeds repeat, log probs belong to their tokens, those of a prompt are
transformers', and what would end the core is refused. Prints a line for each; exit code 1 when one fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from qwen_triton.engines.vllm.engine import VllmEngine
from qwen_triton.engines.vllm.options import VllmOptions
from qwen_triton.errors import InvalidRequest
from qwen_triton.types import EngineRequest, SamplingParams, TokenChunk

_LENGTH = 32
_GRAPHS = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": [1, 8, 64]}
"""Without compilation, which takes two minutes at each start."""
ADAPTER = "random"


def request(ids: list[int], **sampling: Any) -> EngineRequest:
    return EngineRequest(tuple(ids), SamplingParams(**{"max_tokens": _LENGTH, "seed": 7, **sampling}))


class Run:
    """Sequences of one engine, collected until all have ended."""

    def __init__(self, engine: VllmEngine, adapter: Path) -> None:
        self.engine = engine
        self.adapter = adapter
        self.next = 0

    def __call__(self, *requests: EngineRequest, within_s: float = 120.0) -> list[list[TokenChunk]]:
        keys = range(self.next, self.next + len(requests))
        self.next += len(requests)
        chunks: dict[int, list[TokenChunk]] = {key: [] for key in keys}
        for key, one in zip(keys, requests, strict=True):
            self.engine.add(key, one)
        until = time.monotonic() + within_s
        while any(not c or c[-1].finish is None for c in chunks.values()):
            if time.monotonic() > until:
                raise TimeoutError("the engine did not end its sequences")
            for key, chunk in self.engine.step():
                chunks[key].append(chunk)
        return list(chunks.values())


def ids(chunks: list[TokenChunk]) -> list[int]:
    return [token for chunk in chunks for token in chunk.token_ids]


def prompts(checkpoint: Path, count: int) -> list[list[int]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    words = [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "apple",
        "pear",
        "plum",
        "house",
        "river",
    ]
    texts = [
        f"<|im_start|>user\nReverse: {' '.join(words[n % 15 : n % 15 + 4])} {n}<|im_end|>\n<|im_start|>assistant\n"
        for n in range(count)
    ]
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


_RANK, _SCALE = 4, 2.0
_ADAPTED = ("q_proj", "v_proj", "down_proj")


def write_adapter(checkpoint: Path, folder: Path) -> None:
    """An adapter of random numbers for a checkpoint of one file, large enough to change its answers."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    torch.manual_seed(5)
    tensors = {}
    with safe_open(checkpoint / "model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118  no mapping
            if name.endswith(tuple(f"{part}.weight" for part in _ADAPTED)):
                outputs, inputs = file.get_slice(name).get_shape()
                layer = f"base_model.model.{name.removesuffix('.weight')}"
                tensors[f"{layer}.lora_A.weight"] = torch.randn(_RANK, inputs) / inputs**0.5
                tensors[f"{layer}.lora_B.weight"] = torch.randn(outputs, _RANK) * 0.1
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": _RANK, "lora_alpha": _RANK * _SCALE, "target_modules": list(_ADAPTED)}
    (folder / "adapter_config.json").write_text(json.dumps(config))


class Reference:
    """transformers' model on the GPU in bf16 and in float32, with an adapter's products added to its weights."""

    def __init__(self, checkpoint: Path, adapter: Path | None = None) -> None:
        self._rounded, self._exact = (_model(checkpoint, adapter, name) for name in ("bfloat16", "float32"))

    def __call__(self, ids: list[int], skipped: int = 0) -> tuple[Any, Any, float]:
        """Logits in bf16 and in float32 for the ids after the `skipped` first, and the widest move between the two."""
        import torch

        read = torch.tensor([ids]).cuda()
        with torch.inference_mode():
            rounded, exact = (m(read).logits[0, skipped - 1 : -1].float().cpu() for m in (self._rounded, self._exact))
        return rounded, exact, float((rounded - exact).abs().max())


def _model(checkpoint: Path, adapter: Path | None, precision: str) -> Any:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=getattr(torch, precision)).cuda().eval()
    if adapter is not None:
        tensors = load_file(adapter / "adapter_model.safetensors")
        weights = dict(model.named_parameters())
        for name in (name for name in tensors if name.endswith(".lora_A.weight")):
            layer = name.removesuffix(".lora_A.weight")
            product = _SCALE * tensors[f"{layer}.lora_B.weight"] @ tensors[name]
            weight = weights[f"{layer.removeprefix('base_model.model.')}.weight"]
            weight.data = (weight.data.float() + product.cuda()).to(weight.dtype)
    return model


def compare(checkpoint: Path, sent: list[list[int]], answers: list[list[int]], adapter: Path | None = None) -> str:
    """«32 of 32 equal, …», or why not. Follows each answer token by token through transformers."""
    import torch

    reference, equal, widest, moved = Reference(checkpoint, adapter), 0, 0.0, 0.0
    for prompt, answer in zip(sent, answers, strict=True):
        rounded, exact, move = reference(prompt + answer, len(prompt))
        places, best, chosen = torch.arange(len(answer)), rounded.argmax(-1), torch.tensor(answer)
        gaps = (exact[places, best] - exact[places, chosen]).abs()
        if float(gaps.max()) > 2 * move:
            n = int(gaps.argmax())
            raise AssertionError(
                f"token {n} of an answer is {answer[n]}, transformers says {int(best[n])}; their logits in float32 "
                f"part by {float(gaps[n]):.3f}, bf16 moves logits by {move:.3f} at most"
            )
        equal += bool((best == chosen).all())
        widest, moved = max(widest, float(gaps.max())), max(moved, move)
    others = f"{len(sent) - equal} chose the other of two close logits"
    return (
        f"{equal} of {len(sent)} equal to transformers, {others} ({widest:.3f} apart; bf16 moves them by {moved:.3f})"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.check_engine", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--options", type=json.loads, default={}, help="options of the engine, as JSON")
    arguments = parser.parse_args()
    began = time.monotonic()
    adapter = Path(tempfile.mkdtemp()) / ADAPTER
    write_adapter(arguments.checkpoint, adapter)
    options = {
        "dtype": "bfloat16",
        "gpu_memory_utilization": 0.3,
        "max_num_seqs": 64,
        "compilation_config": _GRAPHS,
        "lora": {ADAPTER: adapter},
        **arguments.options,
    }
    engine = VllmEngine(VllmOptions(str(arguments.checkpoint), **options))
    print(f"loaded in {time.monotonic() - began:.1f} s: {engine.info}", flush=True)
    failed, run = 0, Run(engine, adapter)
    for name, check in CHECKS.items():
        try:
            print(f"ok    {name}: {check(run, arguments.checkpoint)}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {error}", flush=True)
    engine.close()
    return 1 if failed else 0


def greedy(run: Run, checkpoint: Path) -> str:
    sent = prompts(checkpoint, 32)
    ends = json.loads((checkpoint / "generation_config.json").read_text())["eos_token_id"]
    sampling = SamplingParams(max_tokens=_LENGTH, seed=7)
    end_ids = tuple(ends) if isinstance(ends, list) else (ends,)
    answers = run(*(EngineRequest(tuple(prompt), sampling, end_ids) for prompt in sent))
    ended = [[token for token in (c[-1].stop_token,) if token is not None] for c in answers]
    return compare(checkpoint, sent, [[*ids(c), *end] for c, end in zip(answers, ended, strict=True)])


def same_alone(run: Run, checkpoint: Path) -> str:
    sent = prompts(checkpoint, 8)
    together = [ids(c) for c in run(*map(request, sent))]
    alone = [ids(run(request(a))[0]) for a in sent]
    equal = sum(a == b for a, b in zip(together, alone, strict=True))
    return f"{equal} of 8 answers alone are those among others"


def ends(run: Run, checkpoint: Path) -> str:
    prompt = prompts(checkpoint, 1)[0]
    free = ids(run(request(prompt))[0])
    stop = free[3]
    cut = run(EngineRequest(tuple(prompt), SamplingParams(max_tokens=_LENGTH, seed=7), (stop,)))[0]
    first = free.index(stop)
    assert (ids(cut), cut[-1].finish, cut[-1].stop_token) == (free[:first], "stop", stop), (ids(cut), cut[-1])
    later = run(EngineRequest(tuple(prompt), SamplingParams(max_tokens=12, min_tokens=12, seed=7), (stop,)))[0]
    assert len(ids(later)) == 12
    return "an end id ends and is no token; min_tokens holds it back"


def seeds(run: Run, checkpoint: Path) -> str:
    prompt = prompts(checkpoint, 1)[0]
    one, two, other = (ids(run(request(prompt, temperature=1.5, seed=s))[0]) for s in (11, 11, 2**64 - 1))
    assert one == two != other
    return "the same seed repeats, another differs, one of 64 bits is taken"


def log_probs(run: Run, checkpoint: Path) -> str:
    wide, narrow, none = run(*(request(prompts(checkpoint, 1)[0], logprobs=n, max_tokens=4) for n in (5, 1, None)))
    for chunk in wide:
        for token, chosen, top in zip(chunk.token_ids, chunk.log_probs, chunk.top_log_probs, strict=True):
            assert len(top) == 5
            assert abs(top[0][1] - chosen) < 1e-4
            assert token in (other for other, log_prob in top if log_prob == top[0][1])
    assert all(len(top) == 1 for chunk in narrow for top in chunk.top_log_probs)
    assert not any(chunk.log_probs for chunk in none)
    return "5, 1 and none beside each other"


def prompt_log_probs(run: Run, checkpoint: Path) -> str:
    import torch

    sent = prompts(checkpoint, 4)
    answers = run(*(request(prompt, prompt_logprobs=n, max_tokens=2) for n, prompt in enumerate(sent)))
    reference, furthest, moved = Reference(checkpoint), 0.0, 0.0
    for n, (prompt, chunks) in enumerate(zip(sent, answers, strict=True)):
        found = chunks[0].prompt
        _, exact, move = reference(prompt, 1)
        assert found is not None
        assert len(found.log_probs) == len(prompt) - 1
        assert [len(tops) for tops in found.top_log_probs] == ([n] * (len(prompt) - 1) if n else [])
        given = exact.log_softmax(-1).gather(1, torch.tensor(prompt[1:])[:, None])[:, 0]
        apart = float((torch.tensor(found.log_probs) - given).abs().max())
        assert apart <= 2 * move, (apart, move)
        assert all(chunk.prompt is None for chunk in chunks[1:])
        furthest, moved = max(furthest, apart), max(moved, move)
    return f"they are the true ones to {furthest:.3f}; bf16 moves logits by {moved:.3f}"


def adapters(run: Run, checkpoint: Path) -> str:
    sent = prompts(checkpoint, 16)
    mixed = run(
        *(one for prompt in sent for one in (request(prompt), replace(request(prompt), lora_name=ADAPTER))),
    )
    plain, adapted = [ids(chunks) for chunks in mixed[::2]], [ids(chunks) for chunks in mixed[1::2]]
    differ = sum(a != b for a, b in zip(plain, adapted, strict=True))
    assert differ > len(sent) // 2, differ
    return f"{differ} of {len(sent)} differ; {compare(checkpoint, sent, adapted, run.adapter)}"


def words_and_biases(run: Run, checkpoint: Path) -> str:
    prompt = prompts(checkpoint, 1)[0]
    free = ids(run(request(prompt))[0])
    sampling = SamplingParams(max_tokens=_LENGTH, seed=7)
    without = ids(run(EngineRequest(tuple(prompt), sampling, bad_words=((free[0],), (free[1], free[2]))))[0])
    assert free[0] not in without
    always = ids(run(EngineRequest(tuple(prompt), SamplingParams(max_tokens=5, seed=7), bias={42: 100.0}))[0])
    assert always == [42] * 5
    return "a bad word does not come, a bias of 100 always does"


def prefixes(run: Run, checkpoint: Path) -> str:
    prompt = prompts(checkpoint, 1)[0] * 20
    run(request(prompt, max_tokens=1))
    found = run(request(prompt, max_tokens=1))[0][-1].cached_tokens
    assert found > len(prompt) // 2
    return f"{found} of {len(prompt)} prompt tokens were found in the cache"


def cancelled(run: Run, checkpoint: Path) -> str:
    prompt = prompts(checkpoint, 1)[0]
    for n in range(200):
        run.engine.add(10_000 + n, request(prompt, max_tokens=2000, min_tokens=1900))
    until = time.monotonic() + 3
    while time.monotonic() < until:
        run.engine.step()
    running = run.engine.counters.running
    for n in range(200):
        run.engine.cancel(10_000 + n)
    run(request(prompt, max_tokens=4))
    used = run.engine.counters.extra["kv_cache_usage"]
    assert running >= 60
    assert used < 0.01
    return f"{running} were running, then {used:.4f} of the cache is in use"


def refusals(run: Run, checkpoint: Path) -> str:
    prompt, vocabulary = prompts(checkpoint, 1)[0], run.engine.info.vocab_size
    wrong = [
        request([vocabulary]),
        request(prompt, temperature=3.0),
        EngineRequest(tuple(prompt), SamplingParams(max_tokens=1, seed=1), stop_token_ids=(vocabulary,)),
        EngineRequest(tuple(prompt), SamplingParams(max_tokens=1, seed=1), bias={vocabulary: 1.0}),
        EngineRequest(tuple(prompt), SamplingParams(max_tokens=1, seed=1), bad_words=((1,) * 1025,)),
    ]
    for n, one in enumerate(wrong):
        try:
            run.engine.add(20_000 + n, one)
        except InvalidRequest:
            continue
        raise AssertionError(f"number {n} was taken")
    run(request(prompt, max_tokens=2))
    return f"{len(wrong)} kinds, and the engine goes on"


CHECKS = {
    "greedy": greedy, "alone": same_alone, "ends": ends, "seeds": seeds, "log probs": log_probs,
    "prompt log probs": prompt_log_probs, "adapters": adapters, "words": words_and_biases, "prefix": prefixes,
    "cancel": cancelled, "refusals": refusals,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
