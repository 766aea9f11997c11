"""The room of chat."""
