"""Text of token ids and back: tokenizer, detokenizer, stop strings, and the stream of one sequence that joins them.

Knows no chat markup, no tensors and no engine. Imports from errors, types and checkpoint.
"""
