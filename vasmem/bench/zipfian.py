"""The key choice of YCSB's workloads A, B and C: zipfian, with the popular keys scattered.

The formulas and constants are those of YCSB's ZipfianGenerator, ScrambledZipfianGenerator and
Utils.fnvhash64 (core/src/main/java/site/ycsb, release 0.17), which follow Gray et al., "Quickly
Generating Billion-Record Synthetic Databases", SIGMOD 1994. As there, ranks are drawn from ten
billion items whatever the number of records, and a hash scatters them over the records.
"""

from __future__ import annotations

import numpy as np

CONSTANT = 0.99
ITEMS = 10_000_000_001
# Sum of 1 / n ** CONSTANT for n up to 10 ** 10, as it stands in ScrambledZipfianGenerator.
ZETA_ITEMS = 26.46902820178302
FNV_OFFSET, FNV_PRIME = 0xCBF29CE484222325, 1099511628211


def ranks(uniform: np.ndarray) -> np.ndarray:
    """For numbers of [0, 1): ranks, of which 0 is the most popular."""
    zeta_two = 1 + 0.5**CONSTANT
    eta = (1 - (2 / ITEMS) ** (1 - CONSTANT)) / (1 - zeta_two / ZETA_ITEMS)
    drawn: np.ndarray = (ITEMS * (eta * uniform - eta + 1) ** (1 / (1 - CONSTANT))).astype(
        np.uint64
    )
    scaled = uniform * ZETA_ITEMS
    drawn[scaled < zeta_two] = 1
    drawn[scaled < 1] = 0
    return drawn


def scrambled(numbers: np.ndarray) -> np.ndarray:
    """The FNV-1 style hash of YCSB, over the eight octets, without its sign."""
    hashes = np.full(len(numbers), FNV_OFFSET, np.uint64)
    for shift in range(0, 64, 8):
        hashes ^= numbers >> np.uint64(shift) & np.uint64(0xFF)
        hashes *= np.uint64(FNV_PRIME)
    return np.abs(hashes.view(np.int64))


def draw(random: np.random.Generator, records: int, count: int) -> np.ndarray:
    """Indices of `count` records, by popularity."""
    return scrambled(ranks(random.random(count))) % records
