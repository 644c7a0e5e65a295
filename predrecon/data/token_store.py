"""Text to a stream of token ids on disk, whatever its size.

Documents are read, tokenised and written shard by shard, so memory holds one shard. A finished
shard survives an interruption; an unfinished one is written again. At the end the shards become
one memory-mapped file per split. Blocks of any length are cut from it when it is read, so the store
depends on text and tokenizer alone.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock

from predrecon.data.files import build_folder, remove_folder, remove_unfinished, sync
from predrecon.data.progress import Progress
from predrecon.data.readers import SourceError, show

SPLITS = ("train", "validation")
_SHARD = 16_000_000  # characters
_BATCH = 1_000_000  # characters tokenised at once, on all cores


def stored_facts(folder: Path, sep_id: int) -> dict | None:
    """`facts.json` of a finished store, else None.

    A store of an older version, which kept documents without text, counts as unfinished if it holds
    any: then two [SEP] follow each other.
    """
    if not (folder / "facts.json").is_file():
        return None
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    for split in SPLITS:
        if "without_text" not in facts[split]:
            ends = np.fromfile(folder / f"{split}.bin", dtype=np.uint16) == sep_id
            if ends[:1].any() or (ends[1:] & ends[:-1]).any():
                return None
            facts[split]["without_text"] = 0
    return facts


def build(
    folder: Path,
    name: str,
    read: Callable[[str], Iterable[str]],
    tokenizer,
    documents: int = 0,
    summary: str = "",
) -> dict:
    """Write `folder/{train,validation}.bin` (uint16) and `facts.json`, which are returned.

    A second process that builds the same store waits for the first. `read` yields the documents of
    a split; those without text are skipped and counted. `documents` is their number (0: unknown),
    for the progress line, which ends with `summary`. After a SourceError nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    shards, place = folder.with_name(f".shards-{folder.name}"), show(name)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if stored := stored_facts(folder, tokenizer.sep_token_id):
            return stored
        remove_folder(folder)
        remove_unfinished(folder.parent, folder.name)
        shards.mkdir(exist_ok=True)
        facts = {"name": name, "vocabulary": len(tokenizer)}
        try:
            with Progress(f"tokenising {place}", documents, "documents") as bar:
                for split in SPLITS:
                    facts[split] = _write_shards(shards, split, read(split), tokenizer, bar)
                    _check_split(place, split, facts[split])
                bar.update(bar.done, _in_words(facts, summary))
        except SourceError:  # the text is at fault: another start would fail too
            shutil.rmtree(shards)
            raise
        build_folder(folder, lambda part: _join(part, shards, facts))
        shutil.rmtree(shards)
        return facts


def _check_split(place: str, split: str, facts: dict[str, int]):
    """SourceError for a split that holds nothing to train or measure on."""
    if facts["tokens"] > facts["documents"]:  # each ends in [SEP]
        return
    if empty := facts["documents"] + facts["without_text"]:
        raise SourceError(
            f"{place}: no text in the {split} split: its {empty:,} documents are empty, blank or "
            "hold nothing that the tokenizer knows. Look at the column `text`, or name another "
            "tokenizer."
        )
    raise SourceError(
        f"{place}: no document for the {split} split. Give at least two documents (in a txt file "
        "blank lines divide them), or a folder with a validation file."
    )


def _in_words(facts: dict, summary: str) -> str:
    """What was read and what was skipped."""
    counts = [f"{split}: {facts[split]['tokens']:,} tokens" for split in SPLITS]
    if empty := sum(facts[split]["without_text"] for split in SPLITS):
        counts.append(f"skipped {empty:,} documents without text")
    return ", ".join(filter(None, [*counts, summary]))


def _write_shards(
    shards: Path, split: str, texts: Iterable[str], tokenizer, progress: Progress
) -> dict[str, int]:
    """Write the missing shards; returns the totals of all shards."""
    facts, before = dict(documents=0, characters=0, tokens=0, without_text=0), progress.done

    def with_text() -> Iterator[str]:
        for text in texts:
            if text.strip():
                yield text
            else:
                facts["without_text"] += 1

    for number, part in enumerate(_by_size(with_text(), _SHARD)):
        shard = shards / f"{split}-{number:06d}.bin"
        if not shard.is_file():
            _write_shard(shard, part, tokenizer)
        facts["documents"] += len(part)
        facts["characters"] += sum(map(len, part))
        facts["tokens"] += shard.stat().st_size // 2
        done = before + facts["documents"] + facts["without_text"]
        progress.update(done, f"{split}: {facts['tokens']:,} tokens")
    return facts


def _write_shard(shard: Path, texts: list[str], tokenizer):
    """Tokenise and write one shard. One batch is tokenised while another's ids are collected."""
    backend, sep = tokenizer.backend_tokenizer, tokenizer.sep_token_id
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True  # a literal "[SEP]" in a text is text

    def encode(batch: list[str]) -> bytes:
        documents = backend.encode_batch_fast(batch, add_special_tokens=False)
        return b"".join(np.array([*d.ids, sep], dtype=np.uint16).tobytes() for d in documents)

    unfinished = shard.with_suffix(".part")
    with (
        unfinished.open("wb") as file,
        ThreadPoolExecutor(2) as threads,
        contextlib.closing(threads.map(encode, _by_size(texts, _BATCH))) as batches,
    ):
        file.writelines(batches)
    sync(unfinished)
    unfinished.replace(shard)


def _join(part: Path, shards: Path, facts: dict):
    for split in SPLITS:
        file = part / f"{split}.bin"
        with file.open("wb") as stream:
            for shard in sorted(shards.glob(f"{split}-*.bin")):
                stream.write(shard.read_bytes())  # some tens of megabytes at most
        if file.stat().st_size != 2 * facts[split]["tokens"]:
            raise OSError(f"{shards}: {split} is not as long as counted. Delete this folder.")
    (part / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _by_size(texts: Iterable[str], characters: int) -> Iterator[list[str]]:
    """Lists of texts, each list just long enough to reach `characters`."""
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
