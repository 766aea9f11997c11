"""The room of tensors."""
