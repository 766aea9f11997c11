"""How a session reaches a Triton: gRPC or HTTP, what a model declares, and how an answer of an ensemble is cancelled.

Knows no text and no chat. Imports from the core's errors, tensors and kserve.
"""
