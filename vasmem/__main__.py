"""`python -m vasmem` is the command line."""

from vasmem.cli import main

if __name__ == "__main__":
    main()
