"""HTTP endpoints: request bodies checked and turned into requests to the model, the OpenAPI document, the chat page.

Knows no protocol to Triton. Imports from the core and from service, backend, answers and errors of this package.
"""
