"""The core behind the Triton models: text → GenerateRequest → EngineRequest → TokenChunk → TextChunk → text.

Packages and modules in the order in which they may import: errors, types, checkpoint, text, chat, tensors, kserve,
model_config, engines, preprocess, serving, ensemble, triton. Knows no client, no OpenAI endpoint and no deployment file;
imports no other package of this repository.
"""
