"""Targets of a load: KServe over gRPC, generate over HTTP, OpenAI's endpoints. Each sends prompts and reports answers.

Knows nothing of plans and figures. Imports from the core's tensors and kserve, the client's transport, and prompts here.
"""
