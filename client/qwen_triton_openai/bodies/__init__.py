"""Bodies of requests: a table of parameters for each API, their checks, and the request to the model that they ask for.

Knows no tensors and no routes. Imports from the core and from errors, settings, service and answers of this package.
"""
