"""The Triton behind the endpoints: one HTTP/2 connection, generations on it, tokenizing, whether it is ready.

Knows nothing of OpenAI's bodies. Imports from the core and from errors and settings of this package.
"""
