"""Files from the Hugging Face hub or its local cache; with neither, an error within seconds."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from predrecon.data.readers import SourceError


def fetch_files(
    repository: str, patterns: list[str], *, tried: list[str], fallback: str
) -> list[Path]:
    """Local copies of the files of a data set that match `patterns`, downloaded if need be.

    Args:
        repository: e.g. `"nyu-mll/glue"`.
        patterns: globs, e.g. `"sst2/train-*.parquet"`.
        tried, fallback: for the error: places already searched; what needs no download.

    Raises:
        SourceError: not on the hub, or out of reach and not (completely) in the cache.
    """
    from huggingface_hub import snapshot_download

    place = f"the hub's {repository} ({', '.join(patterns)})"
    with _local_if_unreachable(place, tried, fallback) as options:
        options |= dict(repo_type="dataset", allow_patterns=patterns)
        folder = Path(snapshot_download(repository, **options))
        files = sorted(file for pattern in patterns for file in folder.glob(pattern))
        # "train-00003-of-00041.parquet": a cache filled by another program may lack some
        series = {re.sub(r"-\d+-of-", "-of-", file.name) for file in files}
        total = sum(int(name.split("-of-")[1].split(".")[0]) for name in series if "-of-" in name)
        if not files or len(files) < total:
            raise FileNotFoundError(f"{len(files)} of {total or 'its'} files are in {folder}")
        return files


def fetch_tokenizer(name: str, *, tried: list[str], fallback: str):
    """A transformers tokenizer from the hub or its local cache; errors as `fetch_files`."""
    from transformers import AutoTokenizer

    with _local_if_unreachable(f"the hub's tokenizer {name}", tried, fallback) as options:
        return AutoTokenizer.from_pretrained(name, **options)


@contextlib.contextmanager
def _local_if_unreachable(place: str, tried: list[str], fallback: str) -> Iterator[dict]:
    """Options of a download, and its errors as a SourceError that says the way out."""
    local = not _reachable()
    try:
        yield {"local_files_only": local}
    except (OSError, ValueError) as error:  # the hub's own errors are OSErrors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if local:
            reason = f"no answer from the hub, and not in its cache ({reason})"
        searched = "".join(f"  - {line}\n" for line in [*tried, f"{place}: {reason}"])
        raise SourceError(
            f"Not found. Tried:\n{searched}Three ways out: (1) go online, so that the hub can be "
            "reached; (2) put the files on this machine and name them, either by path or by "
            "PREDRECON_DATA / data_dir (see README, 'Real data'); (3) use the embedded default, "
            f"{fallback}, which needs no download."
        ) from None


def _reachable() -> bool:
    """Ask the hub once, briefly: left alone, the libraries retry for up to 48 s."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=3)
    except Exception:  # offline mode, or whatever the HTTP library of the day raises
        return False
    return True
