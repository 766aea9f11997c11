"""HTTP endpoints: one module for each API, the OpenAPI document, the chat page.

Knows no protocol to Triton. Imports from the core and from bodies, service, backend, answers and errors of this package.
"""
