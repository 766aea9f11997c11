"""The room of targets."""
