"""Slow, readable twins of the compiled code, by topic, which import nothing from it."""
