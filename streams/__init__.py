"""Streams with and without drift: `make(name)` gives a benchmark stream, `names()` lists them."""

from streams.stream import Block, Drift, Feature, Stream

__all__ = ["Block", "Drift", "Feature", "Stream"]
