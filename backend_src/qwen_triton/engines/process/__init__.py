"""The room of process."""
