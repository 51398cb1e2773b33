"""Backend `file`: segments in files of any directory, named by an absolute path.

VASMEM_FILE_DIRS names the directories that `list` looks into, separated by colons.
"""

from vasmem.backends.paths import PathBackend
from vasmem.promises import Promises


class FileBackend(PathBackend):
    """Segments on a disk; fulfils `vasmem.backends.base.Backend`."""

    name = "file"
    directories_variable = "VASMEM_FILE_DIRS"
    promises = Promises(kill=True, power="if synced", flush=False)
