"""The room of triton_model."""
