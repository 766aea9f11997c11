"""Formats of tool calls: the protocol of a format, Qwen's (Hermes') JSON between tags, and the XML of Qwen3-Coder.

Knows nothing of an answer around its calls. Imports from chat's deltas and tags.
"""
