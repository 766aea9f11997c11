"""Asking a Triton over gRPC: KServe's messages, calls over HTTP/2, a client for threads, what a model declares.

`connection` is the protocol without a socket, for owners of an event loop; `client` has sockets and threads. Knows no
model of ours. Imports from errors, types and tensors.
"""
