"""A stand-in for NVIDIA's C++ backend behind an ensemble: returns exactly the outputs that its config.pbtxt declares.

It echoes the prompt's ids, one per response if it is decoupled; outputs without a value are zeros, as NVIDIA's are. Inputs
that its config does not declare never reach it, because Triton refuses them. An adapter (`lora_task_id`) turns the ids round,
once its weights have come with it; without them it is refused in the words of TensorRT-LLM. With `return_perf_metrics`, and
only then, each response has the metrics: tokens so far, modules of the adapter, the sum of its weights, and counts beside.
A guide shows what of it arrived: a grammar turns the ids round too, one of another type leaves the first id only.
"""

import json

import numpy as np
import triton_python_backend_utils as pb

FINAL = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL
METRICS = (
    *("kv_cache_alloc_new_blocks", "kv_cache_reused_blocks", "kv_cache_alloc_total_blocks"),
    *("arrival_time_ns", "first_scheduled_time_ns", "first_token_time_ns", "last_token_time_ns"),
    *("acceptance_rate", "total_accepted_draft_tokens", "total_draft_tokens"),
)
NOT_CACHED = (
    "Executor failed process requestId 1 due to the following error: LoRA task {} not found in cache. "
    "Please send LoRA weights with request"
)


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self._outputs = {
            o["name"]: (pb.triton_string_to_numpy(o["data_type"]), [max(1, int(d)) for d in o["dims"]])
            for o in config["output"]
        }
        self._adapters = {}

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            arrays = {t.name(): t.as_numpy() for t in request.inputs()}
            task = int(arrays["lora_task_id"].reshape(-1)[0]) if "lora_task_id" in arrays else None
            if "lora_weights" in arrays:
                self._adapters[task] = len(arrays["lora_config"][0]), float(arrays["lora_weights"].sum())
            if task is not None and task not in self._adapters:
                error = pb.TritonError(NOT_CACHED.format(task), pb.TritonError.INTERNAL)
                sender.send(pb.InferenceResponse(error=error), flags=FINAL)
                continue
            measured = "return_perf_metrics" in arrays and arrays["return_perf_metrics"].any()
            modules, weight = self._adapters.get(task, (0, 0.0))
            ids = arrays["input_ids"].reshape(-1)[: int(arrays["request_output_len"].reshape(-1)[0])].tolist()
            if "guided_decoding_guide" in arrays:
                kind = arrays["guided_decoding_guide_type"].reshape(-1)[0]
                grammar = kind == b"ebnf_grammar" and b"root ::=" in arrays["guided_decoding_guide"].reshape(-1)[0]
                ids = ids[::-1] if grammar else ids[:1]
            for number, token in enumerate(ids if task is None else ids[::-1], 1):
                metrics = dict(
                    zip(METRICS, (number, modules, 3, 2**40, 2**41, 2**42, 2**43, weight, 9, 10), strict=True)
                )
                sender.send(pb.InferenceResponse(self._tensors(request, token, metrics if measured else None)))
            sender.send(flags=FINAL)

    def _tensors(self, request, token, metrics):
        own = {"output_ids": np.array([[[token]]], np.int32), "sequence_length": np.array([[1]], np.int32)}
        own.update({n: np.array([[v]], self._outputs[n][0]) for n, v in (metrics or {}).items()})
        absent = METRICS if metrics is None else ()
        zeros = {n: np.zeros([1, *d], t) for n, (t, d) in self._outputs.items() if n not in absent}
        return [pb.Tensor(n, a) for n, a in {**zeros, **own}.items() if n in request.requested_output_names()]
