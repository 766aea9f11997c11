"""Tensors of the five models: their names (contract), and each kind of request and answer, encoded and decoded.

A tensor's name is spelled only in contract.py and, for the sampling parameters, in the core's table (types.SAMPLING). Knows
neither Triton's Python API nor a protocol. Imports from errors, types, text and chat.
"""
