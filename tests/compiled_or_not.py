"""Kernels with and without compilation."""

from __future__ import annotations


def plain(kernel, is_compiled):
    return kernel if is_compiled else getattr(kernel, "py_func", kernel)
