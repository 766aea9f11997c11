"""The room of repository."""
