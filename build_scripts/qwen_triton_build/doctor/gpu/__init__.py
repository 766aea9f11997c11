"""Checks of engines of GPU libraries, which run a checkpoint in an interpreter of their own: vllm and llmapi.

Each library has its checks (vllm_checks, llmapi_checks); what they ask an interpreter (installed_library) and the GPUs
(devices) they share. Knows no built engine of TensorRT-LLM. Imports from the core, deployment, trtllm.gpus and the doctor.
"""
