"""Anthropic's Messages API in front of the same models: its bodies, its answers and its endpoints.

A body becomes the request that the same chat completion would become; the answer is read by the one parser of chat answers.
Knows no tensors. Imports from the core and from the other folders of this package; only the application imports it.
"""
