"""Tensors of the five models: their names (contract), and each kind of request and answer, encoded and decoded.

The only place that spells a tensor's name. Knows neither Triton's Python API nor a protocol. Imports from errors, types,
text and chat.
"""
