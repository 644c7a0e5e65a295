"""Data sets and tokenizers of the Hugging Face hub or its local cache, or an error in seconds."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from predrecon.data import readers
from predrecon.data.progress import one_line


@dataclass(frozen=True)
class HubSplit:
    """A split of a data set: its name in errors, and its `datasets.Dataset`."""

    place: str
    dataset: object

    def read_rows(self, texts: tuple[str, ...], others: tuple[str, ...] = ()) -> Iterator[dict]:
        """Rows as dictionaries; arguments and errors as in `readers.read_rows`."""
        columns = [*texts, *others]
        readers.check_columns(self.place, columns, self.dataset.column_names)
        return readers.check_rows(self.place, self._rows(columns), texts, others)

    def _rows(self, columns: list[str]) -> Iterator[dict]:
        try:
            for table in self.dataset.select_columns(columns).with_format("arrow").iter(1024):
                yield from table.to_pylist()
        except Exception as error:  # a damaged cache: pyarrow's and the disk's errors share no base
            raise readers.SourceError(
                f"{self.place}: {_reason(error)}. Delete it from the cache of the hub's libraries, "
                f"{[f['filename'] for f in self.dataset.cache_files]}, to have it downloaded again."
            ) from error


def load_split(
    repository: str, config: str, split: str, *, tried: list[str], fallback: str
) -> HubSplit:
    """A split of a data set, in whatever format the hub has it, e.g. "nyu-mll/glue", "sst2".

    The SourceError names the places `tried` before, and the `fallback` that needs no download.
    """
    place = f"the hub's {repository} ({config}, {split})"
    with hub_or_cache(place, tried, fallback):
        import datasets

        dataset = datasets.load_dataset(repository, config, split=split, keep_in_memory=False)
    return HubSplit(place, dataset)


def configurations(repository: str, *, tried: list[str], fallback: str) -> list[str]:
    """Names of a data set's configurations; arguments and errors as `load_split`."""
    with hub_or_cache(f"the hub's {repository}", tried, fallback):
        import datasets

        return datasets.get_dataset_config_names(repository)


def load_tokenizer(name: str, *, tried: list[str], fallback: str):
    """A transformers tokenizer from the hub or its local cache; errors as `load_split`."""
    from transformers import AutoTokenizer

    return load(AutoTokenizer.from_pretrained, name, "tokenizer", tried=tried, fallback=fallback)


def load(from_pretrained: Callable, name: str, what: str, *, tried: list[str], fallback: str = ""):
    """`from_pretrained(name)` from the hub or its local cache; errors as `load_split`."""
    with hub_or_cache(f"the hub's {what} {name}", tried, fallback):
        return from_pretrained(name)


@contextlib.contextmanager
def hub_or_cache(place: str, tried: list[str], fallback: str) -> Iterator[None]:
    """Ask the hub once; without an answer, the libraries read their cache and do not ask again.

    By default they retry for up to 48 s. Errors become a SourceError that names `place`, the places
    `tried` before and the ways out, the last of which is `fallback`.
    """
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import OfflineModeIsEnabled

    def refuse(request):  # the libraries treat this as offline mode
        raise OfflineModeIsEnabled(f"no answer from {constants.ENDPOINT}")

    session = get_session()
    hooks, unreachable = session.event_hooks, None
    try:
        status = session.head(constants.ENDPOINT, timeout=3).status_code
        if status >= 500:
            raise ConnectionError(f"{constants.ENDPOINT} answers {status}")
    except Exception as error:  # offline mode, or any error of the HTTP library
        unreachable = error
        session.event_hooks = {**hooks, "request": [refuse, *hooks["request"]]}
    try:
        yield
    except Exception as error:  # the hub's, the network's, the builder's: they share no base
        reason = _reason(error)
        if unreachable:
            reason = f"no answer from the hub, and not in its cache ({reason})"
        searched = "".join(f"  - {line}\n" for line in [*tried, f"{place}: {reason}"])
        ways_out = (
            "Three ways out: (1) go online, so that the hub can be reached; (2) put the files on "
            "this machine and name them, either by path or by PREDRECON_DATA / data_dir (see "
            f"notebooks/START, 'Real data'); (3) use the embedded default, {fallback}, which needs "
            "no download."
        )
        if not fallback:
            ways_out = (
                "Two ways out: (1) go online, so that the hub can be reached; (2) put the files in "
                "a folder on this machine and name it."
            )
        raise readers.SourceError(f"Not found. Tried:\n{searched}{ways_out}") from error
    finally:
        session.event_hooks = hooks


def _reason(error: Exception) -> str:
    """The first line of an error, and of what caused it if that says more."""
    return ": ".join(dict.fromkeys(one_line(e) for e in (error, error.__cause__) if e))
