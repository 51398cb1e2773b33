"""Benchmarks of vasmem: ratios against py-lmdb and against an unsynchronised floor, in one run."""
