"""Where a segment's bytes come from and what they promise."""

if __name__ != "vasmem.backends":
    raise ImportError("import this package as vasmem.backends")
