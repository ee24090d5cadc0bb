"""Decoding of microscopy files, and doing it on all cores."""
