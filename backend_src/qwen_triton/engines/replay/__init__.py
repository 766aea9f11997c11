"""The room of replay."""
