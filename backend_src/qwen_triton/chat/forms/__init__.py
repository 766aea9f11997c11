"""Forms of an answer: a JSON schema, a regex, a choice, a grammar or a structural tag as one context-free grammar.

Every engine gets the same grammar as text, so that all of them keep the same keywords. Knows no tokens, no tensors and no
engine. Imports errors and types.
"""
