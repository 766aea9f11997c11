"""The room of backend."""
