"""Middleware before every endpoint: keys, rate limits, queue, body size, drain, metrics, traces and the access log.

Knows nothing of what an endpoint does. Imports from the core's errors and tensors, and from errors, settings and answers
(usage) of this package.
"""
