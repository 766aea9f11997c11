"""A Hugging Face folder: its JSON files, its text files (tokenizer, template), its weights, and how it is fetched.

Knows no tokenizer, engine or Triton. Imports from errors and types only.
"""
