"""Transports of a session: gRPC and HTTP, a request fitted to a model, cancelling a request of an ensemble.

Knows no text and no chat. Imports from the core's errors, tensors and kserve.
"""
