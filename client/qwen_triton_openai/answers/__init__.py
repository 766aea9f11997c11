"""An answer of the model in OpenAI's words: whole objects, stream chunks, usage, log probs.

Knows no HTTP framework beyond its responses. Imports from the core and from errors, settings and backend of this package.
"""
