"""Diagnostics computed from embeddings and results."""
