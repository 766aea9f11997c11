"""The room of serving."""
