"""Sizes in bytes, as numbers or as text such as "64M"."""

import re

UNITS = "KMGT"
_TEXT = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*([{UNITS}]?)(?:i?B)?\s*", re.IGNORECASE)


def parse_size(size: int | str) -> int:
    """Bytes meant by a positive number or by text: 4096, "512K", "64M", "1.5G", "8GiB".

    K, M, G and T are powers of 1024, with or without "B" or "iB". Raises ValueError for what is
    not a size and TypeError for what is neither a number nor text.
    """
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        raise TypeError(f"a size is a number of bytes or text like '64M', not {size!r}")
    if isinstance(size, int):
        size_bytes = size
    else:
        match = _TEXT.fullmatch(size)
        if match is None:
            raise ValueError(f"{size!r} is not a size; write bytes or a unit: 4096, '64M', '8G'")
        unit = match[2].upper()
        exponent = UNITS.index(unit) + 1 if unit else 0
        size_bytes = (
            int(float(match[1]) * 1024**exponent)
            if "." in match[1]
            else (int(match[1]) * 1024**exponent)
        )
    if size_bytes <= 0:
        raise ValueError(f"{size!r} is not a size; it must be above 0")
    return size_bytes


def format_size(size_bytes: int) -> str:
    """Short text for a number of bytes: "4.0K", "64.0M"; below 1024 the number itself."""
    amount = float(size_bytes)
    unit = ""
    for larger in UNITS:
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.1f}{unit}" if unit else str(size_bytes)
