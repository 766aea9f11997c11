"""The subcommands: their arguments, what they print, and the exit code. What they do is in the other folders.

Imports from every folder of this package; nothing imports from here.
"""
