"""A matrix of prices that one process updates, and another reads as numpy without a copy."""

import multiprocessing
import os

import numpy as np

import vasmem

NAME = f"example-{os.getpid()}"
DAYS, SHARES = 250, 8


def update(name: str) -> None:
    """The writer: a day of prices after the other, then one that it corrects as a whole."""
    chance = np.random.default_rng(1)
    with vasmem.attach(name) as segment:
        prices = segment.array("prices")
        day = np.full(SHARES, 100.0)
        for _ in range(DAYS):
            day *= 1 + chance.normal(0, 0.01, SHARES)
            prices.append(day)  # there as a whole or not at all, like the next line
        prices[10:20] = prices[10:20].round(2)
        prices.view[0, 0] = 100  # a plain store, at the speed of memory


if __name__ == "__main__":
    with vasmem.create(NAME) as segment:
        try:
            prices = segment.array("prices", shape=(0, SHARES), dtype="f8")
            before = prices.view
            writer = multiprocessing.get_context("spawn").Process(target=update, args=(NAME,))
            writer.start()
            writer.join()
            print("rows:", before.shape, "->", prices.shape, "stale:", prices.stale)

            matrix = prices.view  # an ndarray over the segment's memory
            returns = np.diff(np.log(matrix), axis=0)
            print("volatility of a year, in percent:", (returns.std(0) * 250**0.5 * 100).round(1))
            print("the last day, a copy of one moment:", prices[-1].round(2))
        finally:
            vasmem.remove(NAME)
