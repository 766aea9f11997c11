"""The CPU engine: a dense Qwen checkpoint converted to OpenVINO and run by openvino-genai's continuous batching.

Knows no sockets and no clients; only this folder imports openvino. Imports from errors, types, checkpoint and engines.
"""
