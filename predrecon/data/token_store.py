"""Text to a stream of token ids on disk, whatever its size.

Documents are read, tokenised and written shard by shard, so memory holds one shard. A finished
shard survives an interruption; an unfinished one is written again. At the end the shards become
one memory-mapped file a split. Blocks of any length are cut from it when it is read, so the store
depends on text and tokenizer alone.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock

from predrecon.data.files import build_folder, remove_unfinished, sync, write_text
from predrecon.data.progress import Progress
from predrecon.data.readers import SourceError

SPLITS = ("train", "validation")
_SHARD = 16_000_000  # characters
_BATCH = 1_000_000  # characters given to the tokenizer at once, which uses all cores


def build(
    folder: Path, name: str, read: Callable[[str], Iterable[str]], tokenizer, documents: int = 0
):
    """Write `folder/{train,validation}.bin` (uint16) and `facts.json`, unless they are there.

    A second process that builds the same store waits for the first.

    Args:
        folder: the store's. name: what the text is called.
        read: yields the documents of a split.
        tokenizer: a fast transformers tokenizer. documents: how many, for the progress; 0: unknown.

    Raises:
        SourceError: a split without documents, or unreadable text. Nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    shards = folder.with_name(f".shards-{folder.name}")
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if (folder / "facts.json").is_file():
            return
        remove_unfinished(folder.parent, folder.name)
        shards.mkdir(exist_ok=True)
        facts = {"name": name, "vocabulary": len(tokenizer)}
        with Progress(f"tokenising {name}", documents, "documents") as progress:
            try:
                facts |= _write_splits(shards, name, read, tokenizer, progress)
            except SourceError:  # the text is at fault: another start would find the same
                shutil.rmtree(shards)
                raise
        build_folder(folder, lambda part: _join(part, shards, facts))
        shutil.rmtree(shards)


def _write_splits(shards: Path, name: str, read, tokenizer, progress: Progress) -> dict:
    facts, done = {}, 0
    for split in SPLITS:
        facts[split] = _write_shards(shards, split, read, tokenizer, progress, done)
        if not facts[split]["documents"]:
            raise SourceError(
                f"{name}: no document for the {split} split. Give at least two documents (in a txt "
                "file blank lines divide them), or a folder with a validation file."
            )
        done += facts[split]["documents"]
    return facts


def _write_shards(shards: Path, split: str, read, tokenizer, progress: Progress, before: int):
    """All shards of a split; returns their documents, characters and tokens."""
    total = {"documents": 0, "characters": 0, "tokens": 0}
    for number, texts in enumerate(_by_size(read(split), _SHARD)):
        shard = shards / f"{split}-{number:06d}.bin"
        facts = shard.with_suffix(".json")
        if facts.is_file():  # written after the shard was whole
            told = json.loads(facts.read_text(encoding="utf-8"))
        else:
            counts = {"documents": len(texts), "characters": sum(map(len, texts))}
            told = counts | {"tokens": _write_shard(shard, texts, tokenizer)}
            write_text(facts, json.dumps(told))
        total = {key: total[key] + told[key] for key in total}
        progress.update(before + total["documents"], f"{split}: {total['tokens']:,} tokens")
    return total


def _write_shard(shard: Path, texts: list[str], tokenizer) -> int:
    """Tokenise one shard; returns its tokens. The next batch is tokenised while one is written."""
    backend, sep, tokens = tokenizer.backend_tokenizer, tokenizer.sep_token_id, 0
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True  # a literal "[SEP]" in a text is text

    def encode(batch: list[str]):
        return backend.encode_batch_fast(batch, add_special_tokens=False)

    part = shard.with_suffix(".part")
    with part.open("wb") as out, ThreadPoolExecutor(1) as ahead:
        for encoded in _one_ahead(ahead, encode, _by_size(texts, _BATCH)):
            for document in encoded:
                ids = np.asarray([*document.ids, sep], dtype=np.uint16)
                out.write(ids.tobytes())
                tokens += len(ids)
    sync(part)
    part.replace(shard)
    return tokens


def _join(part: Path, shards: Path, facts: dict):
    for split in SPLITS:
        with (part / f"{split}.bin").open("wb") as out:
            for shard in sorted(shards.glob(f"{split}-*.bin")):
                with shard.open("rb") as content:
                    shutil.copyfileobj(content, out, 2**24)
        size = (part / f"{split}.bin").stat().st_size
        if size != 2 * facts[split]["tokens"]:
            raise OSError(f"{shards}: {split} has {size} bytes, not those counted. Delete it.")
    (part / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _by_size(texts: Iterable[str], characters: int) -> Iterator[list[str]]:
    """Lists of texts that together just reach so many characters."""
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _one_ahead(pool: ThreadPoolExecutor, function: Callable, items: Iterable) -> Iterator:
    """`map(function, items)`, with the next item in work while one is used."""
    waiting = None
    for item in items:
        following = pool.submit(function, item)
        if waiting is not None:
            yield waiting.result()
        waiting = following
    if waiting is not None:
        yield waiting.result()
