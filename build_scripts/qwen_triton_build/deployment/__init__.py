"""The room of deployment."""
