"""What stands before every endpoint: keys, limits, queue, body size, drain, metrics, traces and the access log.

Knows nothing of what an endpoint does. Imports from errors and settings of this package.
"""
