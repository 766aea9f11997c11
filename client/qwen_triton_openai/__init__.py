"""An OpenAI-compatible HTTP server in front of the line. It holds no tokenizer and no state beyond its connections."""
