"""Answers as messages of Anthropic's API: content blocks, whole and as named events, made of the blocks of answers/blocks.

Knows no bodies and no routes. Imports from the core and from answers and errors of this package.
"""
