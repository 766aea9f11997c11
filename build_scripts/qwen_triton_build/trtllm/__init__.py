"""From a checkpoint to a TensorRT-LLM engine: what each release's tools take, and running them step by step."""
