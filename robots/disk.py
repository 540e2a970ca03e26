"""Files that cannot be written, by their name."""

import contextlib
from collections.abc import Generator
from pathlib import Path

from robots.errors import DiskError


@contextlib.contextmanager
def naming(path: Path) -> Generator[None, None, None]:
    """Name the file or folder that could not be written; the system's error about a full disk does not.

    Raises:
        DiskError: Instead of the system's error.
    """
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        raise DiskError(
            f"{error.filename or path} cannot be written: {error.strerror or error}. Make room on its disk, then "
            "go on."
        ) from error
