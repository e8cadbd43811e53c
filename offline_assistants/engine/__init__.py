"""Continuous batching over one llama.cpp context per model: the Engines port."""
