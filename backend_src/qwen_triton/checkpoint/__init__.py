"""A Hugging Face folder: its JSON files, its text files (tokenizer, template), its weights, and the download of one.

Knows no tokenizer, engine or Triton. Imports from errors and types only.
"""
