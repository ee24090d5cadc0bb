"""Kernels: arrays in, arrays or a frozen dataclass out."""
