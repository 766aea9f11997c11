"""A model repository rendered from a deployment: placeholders, overlays for each TensorRT-LLM version, checked as protobuf.

Knows no process. Imports from deployment, trtllm and the core's contract.
"""
