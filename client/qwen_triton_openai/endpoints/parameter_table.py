"""The table of parameters as Markdown, for the documents."""

from __future__ import annotations

from .parameters import CHAT, COMPLETIONS, PARAMETERS, Parameter


def parameter_table() -> str:
    """One line for each row of the table, in its order."""
    head = ["| parameter | chat | completions | what is done with it |", "|---|---|---|---|"]
    return "\n".join([*head, *map(_line, PARAMETERS)]) + "\n"


def _line(parameter: Parameter) -> str:
    text = f"refused: {parameter.text}" if parameter.refused else parameter.text
    if parameter.neutral:
        text += f" ({', '.join(f'`{value!r}`' for value in parameter.neutral)} taken)"
    marks = [("✓" if not parameter.refused else "–") if e in parameter.endpoints else "" for e in (CHAT, COMPLETIONS)]
    return f"| `{parameter.name}` | {marks[0]} | {marks[1]} | {text} |"
