"""JUMP-CP: positive controls on compound plates of seven laboratories."""
