"""What is said of a kernel that is nowhere and may not be made."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from ..kernels.kernel_of import KernelMissing


@contextlib.contextmanager
def missing_kernels_named() -> Generator[None]:
    """Let an error of a kernel that is missing name the `lacuna build` line that would have brought it.

    Raises:
        BuildForbidden, CompilerMissing, ImportError: as they were, with that line.
    """
    try:
        yield
    except KernelMissing as missing:
        from ..bundles.advice import with_build_line  # few calls need it

        raise with_build_line(missing.reason, missing.variant, missing.launch) from None
