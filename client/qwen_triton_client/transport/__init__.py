"""The room of transport."""
