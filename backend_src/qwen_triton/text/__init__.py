"""Token ids to text and back: tokenizer, detokenizer, stop strings, and the text stream of one sequence.

Knows no chat markup, no tensors and no engine. Imports from errors, types and checkpoint.
"""
