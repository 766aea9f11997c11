"""The room of terminal."""
