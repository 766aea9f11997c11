"""What stands behind the Triton models: text → GenerateRequest → EngineRequest → TokenChunk → TextChunk → text."""
