"""The embedded text in the cache: the documents, and the WordPiece tokenizer trained on them."""

import json
from pathlib import Path

from predrecon.data import docstrings, paths
from predrecon.data.files import build_folder

VOCABULARY = 8192


def documents() -> list[docstrings.Document]:
    """The embedded text, read from the installed packages once and then from the cache."""
    folder = paths.cache_dir() / f"docstrings-{docstrings.fingerprint()}"
    file = folder / "documents.jsonl"

    def write(part: Path):
        with (part / file.name).open("w", encoding="utf-8") as out:
            for document in docstrings.documents():
                fields = [document.name, document.library, document.paragraphs]
                out.write(json.dumps(fields) + "\n")

    if not file.is_file():
        build_folder(folder, write)
    rows = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    return [docstrings.Document(name, library, tuple(text)) for name, library, text in rows]


def tokenizer_folder() -> Path:
    """Folder of the embedded text's WordPiece tokenizer (lower-cased, as bert-base-uncased)."""
    folder = paths.cache_dir() / f"tokenizer-{docstrings.fingerprint()}-{VOCABULARY}"

    def train(part: Path):
        from tokenizers import BertWordPieceTokenizer
        from transformers import PreTrainedTokenizerFast

        text = [d.text for d in documents() if d.split == "train"]
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        # The trainer numbers "##c" pieces in hash order and breaks ties by number, so that two
        # runs would differ. Naming all of them first, sorted, makes it a function of the text.
        letters = sorted(set("".join(text).lower()) - {" ", "\n"})
        trainer = BertWordPieceTokenizer(lowercase=True)
        trainer.train_from_iterator(
            text,
            vocab_size=VOCABULARY,
            special_tokens=special + letters + [f"##{c}" for c in letters],
            show_progress=False,
        )
        tokenizer = BertWordPieceTokenizer(vocab=trainer.get_vocab(), lowercase=True)
        names = {f"{token[1:-1].lower()}_token": token for token in special}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **names).save_pretrained(
            part
        )

    if not (folder / "tokenizer.json").is_file():
        build_folder(folder, train)
    return folder
