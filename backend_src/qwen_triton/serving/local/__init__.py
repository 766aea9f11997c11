"""Connections of a model's process to programs on its machine: the launcher, and clients that send requests past the server.

They exist because a response through the server costs several times what the model spends on it. Knows neither Triton nor
text. Imports from errors, tensors, engines and serving.threads.
"""
