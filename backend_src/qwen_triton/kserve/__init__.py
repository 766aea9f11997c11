"""Asking a Triton over gRPC: KServe's messages, HTTP/2 frames, status and error text, without a thread of its own.

Knows no model of ours. Imports from errors, types and tensors.
"""
