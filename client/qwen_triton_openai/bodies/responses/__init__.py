"""Bodies of /v1/responses: its parameters, its input items as messages, and its plan in the words of a chat.

Knows no events. Imports from the core, and from errors, settings and the other modules of `bodies`.
"""
