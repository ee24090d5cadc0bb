"""Readers: one source a module."""
