"""What stands before the endpoints: who may ask, how much, and what is told of it. Each gate is an ASGI middleware."""
