"""The room of prompts."""
