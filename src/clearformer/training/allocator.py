"""Memory of a training process: what one step frees, the next takes again.

glibc returns large freed blocks to the kernel, which clears them page by page when the next step asks for as much.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""parameters of mallopt(3)"""
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """From now on glibc keeps freed memory for this process; on another C library nothing changes."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, LARGEST)
