"""The room of answers."""
