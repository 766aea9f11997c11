"""Serving of requests from admission to the last response: dispatcher, senders, replies, disconnected clients. `local/` has
connections to programs on the same machine.

Knows neither Triton (a `Responder` sends for it) nor how an engine works. Imports from errors, types, text, chat, tensors
and engines.
"""
