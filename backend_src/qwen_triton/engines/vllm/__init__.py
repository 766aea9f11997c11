"""The vLLM engine: a Hugging Face checkpoint on GPUs, by vLLM's engine core driven with token ids.

vLLM's tokenizer, detokenizer and output processor are not used: text is made elsewhere. Only core.py imports vllm, and
its docstring says which versions and which names. Knows no sockets and no clients. Imports from errors, types,
checkpoint and engines.
"""
