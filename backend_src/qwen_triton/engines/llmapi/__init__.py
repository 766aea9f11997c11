"""The llmapi engine: a Hugging Face checkpoint on GPUs by TensorRT-LLM's LLM API, driven with token ids.

TensorRT-LLM's detokenizer, stop words and post-processing are not used: text is made elsewhere. Only core.py imports
tensorrt_llm, and releases.py says which releases and where they differ; written after their sources and run on stand-ins
alone. Knows no sockets and no clients. Imports from errors, types, checkpoint and engines.
"""
