"""NVIDIA's backend, or another model of stock's contract, as an engine, reached through the server's own gRPC.

Knows no Triton Python API. Imports from errors, types, tensors, kserve, model_config and engines.
"""
