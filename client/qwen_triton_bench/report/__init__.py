"""`qwen-triton report`: results of runs as one HTML page that needs nothing from anywhere."""
