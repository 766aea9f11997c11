"""The room of launch."""
