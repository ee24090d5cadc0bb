"""Diagnostics computed from embeddings and results, one a file."""
