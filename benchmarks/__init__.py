"""Benchmarks of vasmem: ratios against py-lmdb and against an unsynchronised floor, in one run."""

import sys
from pathlib import Path

# They run at the root of the checkout, whose folder `vasmem` has an extension only where it was
# installed in place; what they measure is what is installed.
ROOT = Path(__file__).resolve().parent.parent
sys.path = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
