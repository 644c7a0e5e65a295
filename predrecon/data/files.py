"""Atomic writes: a reader finds a whole file or folder, or none, even after a power cut."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def fitting(name: str, longest: int = 220) -> str:
    """A name that fits a file system's 255 bytes; one that already fits is returned unchanged.

    A longer one, or one that is not UTF-8, is cut to `longest` bytes, its last nine a digest of the
    whole. The rest of the 255 bytes is for additions: seeds, locks, temporary copies.
    """
    clean = re.sub(r"[\ud800-\udfff]", "_", name)  # halves of characters
    if clean == name and len(name.encode()) <= longest:
        return name
    key = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{clean.encode()[: longest - 9].decode(errors='ignore')}-{key}"


def build_folder(folder: Path, write: Callable[[Path], None]):
    """Let `write` fill a temporary folder, sync it to the disk, then rename it to `folder`.

    If another process built the same folder meanwhile, its copy stays. If `write` raises, nothing
    is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(part)
        part.chmod(0o755)  # mkdtemp's 0700 is for secrets
        for item in (*part.rglob("*"), part):
            sync(item)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
        sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def make_writable(folder: Path, remedy: str) -> Path:
    """Make a folder; PermissionError now if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise PermissionError(
            f"{folder}: cannot be written to ({error.strerror}). {remedy}"
        ) from None
    return folder


def remove_folder(folder: Path):
    """Delete a folder; under its own name it is always complete or absent."""
    if folder.exists():
        aside = folder.with_name(f".{folder.name}.{os.getpid()}")
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def remove_unfinished(parent: Path, name: str):
    """Delete the temporary folders that killed processes left; `name` may be a glob."""
    for part in parent.glob(f".{name}.*"):
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str):
    """Replace a file's content in one step."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path):
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
