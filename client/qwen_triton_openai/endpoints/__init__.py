"""The room of endpoints."""
