"""`qwen-triton tune`: one measured run for each setting of a space, and the best of them under a latency limit."""
