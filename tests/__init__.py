"""Tests: one module per module of the code; `live/` holds those that start a real server."""
