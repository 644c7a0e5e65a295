"""Text to packed token blocks: the embedded docstrings, the hub's corpora, or local files.

A corpus is tokenised once into a cached stream of uint16 ids per split, with [SEP] after every
document. A block of `length` tokens is [CLS], the next `length - 2` ids of the stream, [SEP]: no
padding, document boundaries visible as [SEP]; only the stream's last, partial block is dropped.
"""

import copy
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers.processors import TemplateProcessing

from predrecon.data import embedded_text, hub, paths, token_store
from predrecon.data.documents import EMBEDDED_CORPUS, digest, open_source
from predrecon.data.files import fitting
from predrecon.data.progress import one_line
from predrecon.data.readers import SourceError
from predrecon.pooling import token_ids
from predrecon.seeding import numpy_generator

BERT = "google-bert/bert-base-uncased"
_PROBES = (["a"], None), (["a"], ["b"])  # one text, and a pair
_FORMAT = "1"  # increase when the layout of the cache changes


@dataclass(frozen=True)
class Blocks:
    """Blocks of `length` L tokens, with [CLS] and [SEP], over a split's `stream [n]` of uint16."""

    stream: np.ndarray
    length: int
    cls_id: int
    sep_id: int

    def __len__(self) -> int:
        return len(self.stream) // (self.length - 2)

    def batch(self, indices, device: torch.device | str = "cpu") -> torch.Tensor:
        """Blocks at `indices [B]` as a LongTensor `[B, L]` on the device.

        From the first call on, a GPU keeps the whole stream if it fits into a quarter of the free
        memory. Then only the indices are copied, and the host does not wait.
        """
        device, rows = torch.device(device), torch.as_tensor(np.asarray(indices))
        if device.type == "cpu":
            return self._cut(self._on_host(), rows)
        if (stream := self._resident(device)) is not None:
            return self._cut(stream, rows.pin_memory().to(device, non_blocking=True))
        return self._cut(self._on_host(), rows).pin_memory().to(device, non_blocking=True)

    def order(self, seed: int, step: int, batch_size: int) -> np.ndarray:
        """Block indices `[batch_size]` of a step; epochs are shuffled and joined without a gap."""
        places = range(step * batch_size, (step + 1) * batch_size)
        slots = (divmod(place, len(self)) for place in places)
        return np.array([_permutation(len(self), seed, epoch)[slot] for epoch, slot in slots])

    def _on_host(self) -> torch.Tensor:
        """The stream `[n]` as int16: torch cannot index uint16. Ids above 32,767 are negative."""
        return torch.from_numpy(self.stream.view(np.int16))

    def _resident(self, device: torch.device) -> torch.Tensor | None:
        """The stream `[n]` on a GPU, as `_on_host`; None if there is no room."""
        streams = self.__dict__.setdefault("_streams", {})
        if device not in streams:
            room = self.stream.nbytes <= torch.cuda.mem_get_info(device)[0] // 4
            streams[device] = self._on_host().to(device) if room else None
        return streams[device]

    def _cut(self, stream: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """`[B, L]`: [CLS], the ids at each row's places in the stream, [SEP]."""
        inner = self.length - 2
        places = rows[:, None] * inner + torch.arange(inner, device=rows.device)
        ids = F.pad(stream[places].long() & 0xFFFF, (1, 0), value=self.cls_id)
        return F.pad(ids, (0, 1), value=self.sep_id)


@functools.lru_cache(maxsize=2)  # a batch may reach into the next epoch
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return numpy_generator(seed, "epoch", epoch).permutation(count)


@dataclass(frozen=True)
class Corpus:
    """A tokenised corpus; `name` is the name or path it was loaded by."""

    name: str
    tokenizer: object  # a transformers tokenizer
    folder: Path  # of the cached streams
    facts: dict  # what each split holds, the files that were read, and what was skipped
    fingerprint: str  # of text and tokenizer

    def blocks(self, split: str, length: int) -> Blocks:
        """Blocks of `length` tokens of `"train"` or `"validation"`; ValueError if not even one."""
        if split not in token_store.SPLITS:
            raise ValueError(f"split={split!r}: expected 'train' or 'validation'.")
        stream = np.memmap(self.folder / f"{split}.bin", dtype=np.uint16, mode="c")  # never written
        if length < 3 or len(stream) < length - 2:
            raise ValueError(
                f"{self.name}, {split}: {len(stream):,} tokens do not fill one block of "
                f"length={length} (at least 3). Use a shorter length or more text."
            )
        return Blocks(stream, length, self.tokenizer.cls_token_id, self.tokenizer.sep_token_id)


def load_corpus(
    name_or_path: str | Path = EMBEDDED_CORPUS, *, tokenizer="auto", data_dir=None
) -> Corpus:
    """Open a corpus, building its cache at the first call.

    Args:
        name_or_path: `"docstrings"` (embedded), `"wikitext-103"`, `"wikipedia"`, or a local file or
            folder of parquet, jsonl (column `text`) or txt files. In a folder, files whose names
            say so are held out (`documents.is_held_out`); without any, one document in 50 is.
        tokenizer: what `load_tokenizer` takes; `"auto"` is the trained WordPiece for the embedded
            text and bert-base-uncased for everything else. Own text with neither a network nor a
            local copy of that uses the embedded text's, and a line says so.
        data_dir: folder that may hold `wikipedia/` or `wikitext-103/`; default `PREDRECON_DATA`.

    Raises:
        SourceError: nothing of that name here or on the hub, or unreadable text. Nothing is cached.
    """
    name = str(name_or_path)
    source = open_source(name, paths.data_dir(data_dir))
    if tokenizer == "auto":
        tokenizer = _auto_tokenizer(name, data_dir)
    else:
        tokenizer = load_tokenizer(tokenizer, data_dir=data_dir)
    if len(tokenizer) > 2**16:
        raise ValueError(f"Vocabulary of {len(tokenizer):,}: at most {2**16:,} ids fit the cache.")
    key = digest(_FORMAT, source.digest, tokenizer.backend_tokenizer.to_str())
    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(name).stem or name)
    folder = paths.cache_dir() / "corpora" / f"{fitting(stem)}-{key}"
    facts = token_store.stored_facts(folder, tokenizer.sep_token_id)
    if facts is None:
        paths.cache_dir(write=True)
        arguments = name, source.read, tokenizer, source.count, source.summary
        facts = token_store.build(folder, *arguments)
    if facts["train"]["without_text"] or facts["validation"]["without_text"]:
        key = digest(key, "without blank documents")  # older versions kept them
    facts |= {"files": source.files, "skipped": source.skipped}
    return Corpus(name, tokenizer, folder, facts, key)


def _auto_tokenizer(name: str, data_dir):
    if name == EMBEDDED_CORPUS:
        return load_tokenizer(EMBEDDED_CORPUS)
    try:
        return load_tokenizer(BERT, data_dir=data_dir)
    except SourceError:
        if not Path(name).exists():
            raise
    tokenizer = load_tokenizer(EMBEDDED_CORPUS)
    print(
        f"{BERT} is neither on this machine nor available from the hub: {name} is read with the "
        f"tokenizer of the embedded text ({len(tokenizer):,} pieces). To choose: tokenizer=..."
    )
    return tokenizer


def load_tokenizer(name_or_dir: str | Path = EMBEDDED_CORPUS, *, data_dir=None):
    """A fast transformers tokenizer that reads "[SEP]" in a text as text.

    Args:
        name_or_dir: `"docstrings"` (WordPiece trained on the embedded text), a folder that
            `save_pretrained` wrote, or a hub name. bert-base-uncased is taken from the `tokenizer/`
            folder of the local data when that is there.
        data_dir: the local data folder; default `PREDRECON_DATA`.

    Raises:
        SourceError: not a folder and not on the hub, a tokenizer without the needed tokens, or one
            whose ids are not 0 to n - 1.
    """
    from transformers import AutoTokenizer

    name, root, folder = str(name_or_dir), paths.data_dir(data_dir), Path(name_or_dir)
    if name == EMBEDDED_CORPUS:
        folder = embedded_text.tokenizer_folder()
    elif folder.is_dir():
        if not (folder / "tokenizer.json").is_file():
            raise SourceError(f"{name}: no tokenizer.json in this folder.")
    elif name in (BERT, BERT.split("/")[-1]):
        name, folder = BERT, root / "tokenizer" if root else folder
    if folder.is_dir():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except Exception as error:  # transformers, tokenizers and json share no base
            raise SourceError(
                f"{name}: transformers cannot read this tokenizer ({one_line(error)})."
            ) from error
    else:
        tried = [f"the folder {folder.resolve()}"]
        tokenizer = hub.load_tokenizer(name, tried=tried, fallback=repr(EMBEDDED_CORPUS))
    _check_tokenizer(name, tokenizer)
    tokenizer.split_special_tokens = True  # a literal "[SEP]" in an article is not a separator
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _check_tokenizer(name: str, tokenizer):
    if not tokenizer.is_fast:
        raise SourceError(f"Tokenizer {name!r} is a slow one: only fast ones work.")
    ids = {role: getattr(tokenizer, f"{role}_token_id") for role in ("mask", "cls", "sep", "pad")}
    if missing := [f"{role}_token_id" for role, value in ids.items() if value is None]:
        raise SourceError(f"Tokenizer {name!r} has no {', '.join(missing)}; MLM needs it.")
    if shared := [role for role in ("mask", "cls", "sep") if ids[role] == ids["pad"]]:
        raise SourceError(
            f"Tokenizer {name!r} pads with its {shared[0]}_token, which an encoder would take for "
            "padding. Give it a pad token of its own."
        )
    if (highest := max(tokenizer.get_vocab().values(), default=-1)) >= len(tokenizer):
        raise SourceError(
            f"Tokenizer {name!r}: {len(tokenizer):,} tokens with ids up to {highest:,}. A model "
            "has one row per token: number them from 0 without gaps, and save the tokenizer again."
        )


def save_tokenizer(tokenizer, folder: Path, length: int):
    """Write a tokenizer with which `AutoTokenizer` alone gives the ids that are measured.

    They are those of `pooling.token_ids`: special tokens in a text are text, [CLS] and [SEP]
    surround it, and a text longer than `length`, the encoder's longest input, is cut on the right
    (pairs: truncation="only_second"). The padding side does not change.
    """
    kept = copy.deepcopy(tokenizer)
    kept.model_max_length, kept.truncation_side, kept.split_special_tokens = length, "right", True
    names = ("padding_side", "truncation_side", "split_special_tokens")
    kept.init_kwargs |= {name: getattr(kept, name) for name in names}
    backend = kept.backend_tokenizer
    if any(kept(*texts)["input_ids"] != token_ids(kept, *texts, 64) for texts in _PROBES):
        cls, sep = kept.cls_token, kept.sep_token
        backend.post_processor = TemplateProcessing(
            single=[cls, "$A", sep],
            pair=[cls, "$A", sep, "$B:1", f"{sep}:1"],
            special_tokens=[(cls, kept.cls_token_id), (sep, kept.sep_token_id)],
        )
    backend.no_truncation()
    backend.no_padding()
    kept.save_pretrained(folder)
