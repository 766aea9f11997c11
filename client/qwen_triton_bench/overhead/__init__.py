"""`qwen-triton bench line`: what the line itself costs, without a model, by process and by way in."""
