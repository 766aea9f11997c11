"""The Triton behind the endpoints: HTTP/2 and local connections on the event loop, generations, single answers, readiness.

Knows nothing of OpenAI's bodies. Imports from the core and from errors and settings of this package.
"""
