"""The room of ensemble."""
