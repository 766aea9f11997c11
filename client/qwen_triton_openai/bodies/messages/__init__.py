"""Bodies of Anthropic's Messages API in the words of a chat, of which bodies/chat_plan makes the request to the model.

Knows no tensors and no routes. Imports from the core and from bodies, errors and settings of this package.
"""
