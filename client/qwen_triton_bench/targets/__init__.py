"""Ways in: KServe over gRPC, generate over HTTP, OpenAI's endpoints. A target sends prompts and reports what comes back.

Knows nothing of plans and figures. Imports from the core's tensors and kserve, and from prompts of this package.
"""
