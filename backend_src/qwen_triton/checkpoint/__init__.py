"""The room of checkpoint."""
