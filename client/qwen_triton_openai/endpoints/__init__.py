"""The paths that clients ask: bodies checked and planned, parameters honoured or refused, and the OpenAPI document.

Knows no protocol to Triton. Imports from the core and from service, backend, answers and errors of this package.
"""
