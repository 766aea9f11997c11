"""JSON Schema as grammars of JSON text. Knows no other kind of form.

Imports from forms' grammar, regex and faults.
"""
