"""A plugin that fails on import."""

raise RuntimeError("its licence server is asleep")
