"""Writing so that a reader finds all of it or nothing."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def build_folder(folder: Path, write: Callable[[Path], None]):
    """Let `write` fill a folder aside, then rename it into place.

    If another process built the same folder meanwhile, its copy stays. If `write` raises, nothing
    is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(part)
        part.chmod(0o755)  # mkdtemp's 0700 is for secrets
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str):
    """Replace a file's content in one step."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
