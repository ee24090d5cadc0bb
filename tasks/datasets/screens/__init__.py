"""Anybody's screen: a table of wells with pictures or profiles."""
