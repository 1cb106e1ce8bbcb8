"""Twin of `streams/java_random.py`."""

from __future__ import annotations

import math


class JavaRandom:
    """`java.util.Random` as its documentation describes it.

    The logarithm in `next_gaussian` is Python's, so that its last bits may differ from Java's.
    """

    def __init__(self, seed):
        self.seed = (seed ^ 0x5DEECE66D) % 2**48
        self.kept = None

    def next_bits(self, bits):
        self.seed = (self.seed * 0x5DEECE66D + 11) % 2**48
        return self.seed // 2 ** (48 - bits)

    def next_int(self):
        number = self.next_bits(32)
        return number if number < 2**31 else number - 2**32

    def next_int_below(self, bound):
        is_power_of_two = bin(bound).count("1") == 1
        if is_power_of_two:
            return bound * self.next_bits(31) // 2**31
        usable = 2**31 // bound * bound
        while (number := self.next_bits(31)) >= usable:
            pass
        return number % bound

    def next_double(self):
        return (self.next_bits(26) * 2**27 + self.next_bits(27)) / 2**53

    def next_float(self):
        return self.next_bits(24) / 2**24

    def next_boolean(self):
        return bool(self.next_bits(1))

    def next_gaussian(self):
        if self.kept is not None:
            number, self.kept = self.kept, None
            return number
        square = 0.0
        while not 0.0 < square < 1.0:
            a, b = 2 * self.next_double() - 1, 2 * self.next_double() - 1
            square = a * a + b * b
        scale = math.sqrt(-2 * math.log(square) / square)
        self.kept = b * scale
        return a * scale
