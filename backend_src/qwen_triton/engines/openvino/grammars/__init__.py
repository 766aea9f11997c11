"""Grammars of answers for openvino-genai: the vocabulary that they constrain, their compilation, and its bound in time.

Knows no JSON and no chat: a grammar comes as text. Imports from errors, chat's marks, checkpoint, text and the engine's graphs.
"""
