"""Answers of the model in OpenAI's form: whole objects, stream chunks, usage, log probs.

Knows no HTTP framework beyond its responses. Imports from the core, and from errors, observer and backend of this package.
"""
