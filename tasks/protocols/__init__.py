"""Evaluation procedures: embeddings and a dataset in, per-unit scores out."""
