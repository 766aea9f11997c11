"""The commands `generate` and `chat`: flags, a person's input, and how answers look in a terminal.

Knows no protocol. Imports from the session of this package and from the core's errors, types and chat.
"""
