"""Text to packed token blocks: the embedded docstrings, the hub's corpora, or local files.

A corpus is tokenised once into a cached stream of uint16 ids per split, with [SEP] after every
document. A block of `length` tokens is [CLS], the next `length - 2` ids of the stream, [SEP]: no
padding, document boundaries visible as [SEP], nothing dropped but the stream's last part-block.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from predrecon.data import embedded, paths, readers, token_store
from predrecon.data.documents import EMBEDDED, digest, find
from predrecon.seeding import numpy_generator

BERT = "google-bert/bert-base-uncased"
_FORMAT = "1"  # raise when the layout of the cache changes


@dataclass(frozen=True)
class Blocks:
    """Fixed-length blocks over one split's token stream.

    Attributes:
        stream: `[n]` uint16 ids, memory-mapped.
        length: L, tokens in a block with [CLS] and [SEP].
        cls_id, sep_id: ids that open and close every block.
    """

    stream: np.ndarray
    length: int
    cls_id: int
    sep_id: int

    def __len__(self) -> int:
        return len(self.stream) // (self.length - 2)

    def batch(self, indices, device: torch.device | str = "cpu") -> torch.Tensor:
        """Blocks at `indices [B]` as a LongTensor `[B, L]` on the device.

        A GPU holds the whole stream from the first call on, where a quarter of its free memory is
        enough for that: then only the indices travel, and nothing waits.
        """
        device, rows = torch.device(device), torch.as_tensor(np.asarray(indices))
        if device.type == "cpu":
            return self._cut(self._host_ids, rows)
        resident = self._resident(device)
        if resident is None:
            return self._cut(self._host_ids, rows).pin_memory().to(device, non_blocking=True)
        return self._cut(_reader(resident), rows.pin_memory().to(device, non_blocking=True))

    def _cut(self, ids_at, rows: torch.Tensor) -> torch.Tensor:
        """`[B, L]`: [CLS], the ids at each row's places in the stream, [SEP]."""
        inner = self.length - 2
        places = rows[:, None] * inner + torch.arange(inner, device=rows.device)
        ids = F.pad(ids_at(places), (1, 0), value=self.cls_id)
        return F.pad(ids, (0, 1), value=self.sep_id)

    def _host_ids(self, places: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.stream[places.numpy()].astype(np.int64))

    def _resident(self, device: torch.device) -> torch.Tensor | None:
        """The stream `[n]` on a GPU as int16 (its indexing knows no uint16); None: no room."""
        memo = self.__dict__.setdefault("_on", {})
        if device not in memo:
            room = self.stream.nbytes <= torch.cuda.mem_get_info(device)[0] // 4
            ids = torch.from_numpy(self.stream.view(np.int16)) if room else None
            memo[device] = ids.to(device) if room else None
        return memo[device]

    def order(self, seed: int, step: int, batch_size: int) -> np.ndarray:
        """Block indices `[batch_size]` of a step: epochs are shuffled, and run into one another."""
        places = step * batch_size + np.arange(batch_size)
        epochs, slots = np.divmod(places, len(self))
        indices = np.empty(batch_size, dtype=np.int64)
        for epoch in np.unique(epochs):
            indices[epochs == epoch] = self._permutation(seed, epoch)[slots[epochs == epoch]]
        return indices

    def _permutation(self, seed: int, epoch: int) -> np.ndarray:
        memo = self.__dict__.setdefault("_memo", {})
        if (seed, epoch) not in memo:
            memo.clear()
            memo[seed, epoch] = numpy_generator(seed, "epoch", epoch).permutation(len(self))
        return memo[seed, epoch]


def _reader(resident: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Places to ids, of uint16 ids that are kept as int16."""
    return lambda places: resident[places].long() & 0xFFFF


@dataclass(frozen=True)
class Corpus:
    """A tokenised corpus.

    Attributes:
        name: what it was asked for by.
        tokenizer: its transformers tokenizer.
        folder: where the cached streams are.
        facts: documents, characters and tokens of each split, as counted when it was built.
        fingerprint: hex digest of text and tokenizer.
    """

    name: str
    tokenizer: object
    folder: Path
    facts: dict
    fingerprint: str

    def blocks(self, split: str, length: int) -> Blocks:
        """Blocks of `length` tokens of `"train"` or `"validation"`.

        Raises:
            ValueError: an unknown split, or a split shorter than one block.
        """
        if split not in ("train", "validation"):
            raise ValueError(f"split={split!r}: expected 'train' or 'validation'.")
        stream = np.memmap(self.folder / f"{split}.bin", dtype=np.uint16, mode="c")  # never written
        if length < 3 or len(stream) < length - 2:
            raise ValueError(
                f"{self.name}, {split}: {len(stream):,} tokens do not fill one block of "
                f"length={length} (at least 3). Use a shorter length or more text."
            )
        return Blocks(stream, length, self.tokenizer.cls_token_id, self.tokenizer.sep_token_id)


def load_corpus(
    name_or_path: str | Path = EMBEDDED, *, tokenizer="auto", data_dir: str | Path | None = None
) -> Corpus:
    """Open a corpus, building its cache at the first call.

    Args:
        name_or_path: `"docstrings"` (embedded), `"wikitext-103"`, `"wikipedia"`, or a local file or
            folder of parquet, jsonl (column `text`) or txt files. In a folder, files whose names
            begin with `validation`, `valid`, `dev` or `test` are held out; without any, one
            document in 50 is.
        tokenizer: what `load_tokenizer` takes; `"auto"` is the trained WordPiece for the embedded
            text and bert-base-uncased for everything else.
        data_dir: folder that may hold `wikipedia/` or `wikitext-103/`; default `PREDRECON_DATA`.

    Raises:
        SourceError: nothing of that name here or on the hub, or unreadable text. Nothing is cached.
    """
    name = str(name_or_path)
    source = find(name, paths.data_dir(data_dir))
    if tokenizer == "auto":
        tokenizer = EMBEDDED if name == EMBEDDED else BERT
    tokenizer = load_tokenizer(tokenizer, data_dir=data_dir)
    if len(tokenizer) > 2**16:
        raise ValueError(f"Vocabulary of {len(tokenizer):,}: at most {2**16:,} ids fit the cache.")
    key = digest(_FORMAT, source.digest, tokenizer.backend_tokenizer.to_str())
    folder = paths.cache_dir() / "corpora" / f"{_stem(name)}-{key}"
    if not (folder / "facts.json").is_file():
        token_store.build(folder, name, source.read, tokenizer, source.count)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return Corpus(name, tokenizer, folder, facts, key)


def load_tokenizer(name_or_dir: str | Path = EMBEDDED, *, data_dir: str | Path | None = None):
    """A fast transformers tokenizer that reads "[SEP]" in a text as text.

    Args:
        name_or_dir: `"docstrings"` (WordPiece trained on the embedded text), a folder that
            `save_pretrained` wrote, or a hub name. bert-base-uncased is taken from the `tokenizer/`
            folder of the local data when that is there.
        data_dir: the local data folder; default `PREDRECON_DATA`.

    Raises:
        SourceError: not a folder and not on the hub, or a tokenizer without the needed tokens.
    """
    from transformers import AutoTokenizer

    name = str(name_or_dir)
    root = paths.data_dir(data_dir)
    if name == EMBEDDED:
        tokenizer = AutoTokenizer.from_pretrained(embedded.tokenizer_folder())
    elif Path(name).is_dir():
        if not (Path(name) / "tokenizer.json").is_file():
            raise readers.SourceError(f"{name}: no tokenizer.json in this folder.")
        tokenizer = AutoTokenizer.from_pretrained(name)
    elif name.split("/")[-1] == BERT.split("/")[-1] and root and (root / "tokenizer").is_dir():
        tokenizer = AutoTokenizer.from_pretrained(root / "tokenizer")
    else:
        tried = [f"the folder {Path(name).resolve()}"]
        hub_name = BERT if name == BERT.split("/")[-1] else name
        tokenizer = readers.hub_tokenizer(hub_name, tried, repr(EMBEDDED))
    needed = ("mask_token_id", "cls_token_id", "sep_token_id", "pad_token_id")
    if missing := [n for n in needed if getattr(tokenizer, n) is None]:
        raise readers.SourceError(f"Tokenizer {name!r} has no {', '.join(missing)}; MLM needs it.")
    tokenizer.split_special_tokens = True  # a literal "[SEP]" in an article is not a separator
    return tokenizer


def _stem(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(name).stem or name)
