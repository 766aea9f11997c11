"""From an admitted request to its last response: routing of chunks, sender threads, answers, clients that disconnect.

Knows neither Triton (a responder is handed in) nor how an engine works. Imports from errors, types, text, tensors and
engines.
"""
