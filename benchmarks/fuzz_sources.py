"""Damaged text and label files: each is read, or refused with a message that names the file.

    python benchmarks/fuzz_sources.py --cases 2000 --seed 0

A case is a corpus folder, or the folder of a GLUE task, with one damaged file: bytes flipped, cut
off, overwritten or repeated, columns renamed, types changed, encodings mixed, or the content
replaced. A case fails on any error but a ValueError (a SourceError is one), if the message does not
name the file (or the corpus, for errors about all its files), if the intact files were not read in
full, if the cache holds anything that was refused, or if it takes more than 30 s. Every failure is
printed and kept under --keep; --first N --cases 1 repeats one.
"""

import argparse
import bz2
import codecs
import collections
import faulthandler
import gzip
import json
import lzma
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LIMIT = 30  # seconds per case
TEXTS = [
    f"Document {n} says naïve things in a few words, {n * 7} times.\nAnd a line." for n in range(40)
]
PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
TASKS = {
    "sst2": ("sentence",), "cola": ("sentence",), "mrpc": ("sentence1", "sentence2"),
    "mnli": ("premise", "hypothesis"), "stsb": ("sentence1", "sentence2"),
}  # fmt: skip


def body(kind: str, columns: dict[str, list]) -> bytes:
    """The bytes of an intact file."""
    if kind == ".parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), sink)
        return sink.getvalue().to_pybytes()
    if kind == ".jsonl":
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    return "\n\n".join(columns["text"]).encode()


def damaged(draw: np.random.Generator, data: bytes) -> bytes:
    """Bytes flipped, cut, overwritten, repeated, removed or inserted."""
    raw, size = bytearray(data), len(data)
    a, b = sorted(draw.integers(0, size + 1, 2).tolist())
    how = draw.integers(0, 8)
    if how == 0:
        for place in draw.integers(0, size, draw.integers(1, 20)):
            raw[place] ^= 1 << draw.integers(0, 8)
    elif how == 1:
        raw = raw[:a]
    elif how == 2:
        raw = raw[a:]
    elif how == 3:
        raw[a:b] = draw.bytes(b - a)
    elif how == 4:
        raw[a:b] = bytes(b - a)
    elif how == 5:
        raw[a:b] = raw[a:b] * 2
    elif how == 6:
        del raw[a:b]
    else:
        raw[a:a] = draw.bytes(int(draw.integers(1, 9)))
    return bytes(raw)


def other_columns(draw: np.random.Generator, columns: dict[str, list]) -> dict[str, list]:
    """A column renamed, left out, or of another type."""
    columns = dict(columns)
    name = str(draw.choice(list(columns)))
    values, how = columns.pop(name), draw.integers(0, 9)
    changed = [
        lambda: {name.upper(): values},
        lambda: {},
        lambda: {name: list(range(len(values)))},
        lambda: {name: [None, *values[1:]]},
        lambda: {name: [[value] for value in values]},
        lambda: {name: [{"inner": value} for value in values]},
        lambda: {name: ["" for _ in values]},
        lambda: {name: [value == values[0] for value in values]},
        lambda: {name: [-1 for _ in values]},
    ][how]()
    return columns | changed or {"other": values}


def other_encoding(draw: np.random.Generator, data: bytes) -> bytes:
    """Text in another encoding, with or without its byte order mark, or in two encodings."""
    text = data.decode("utf-8", "replace")
    name = str(draw.choice(["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]))
    other = text.encode(name, "replace")
    return [
        other,
        codecs.BOM_UTF8 + data,
        codecs.BOM_UTF16_LE + other,
        data + other,
        other + data,
        codecs.BOM_UTF8 + other,
    ][draw.integers(0, 6)]


def swapped(draw: np.random.Generator) -> bytes:
    """Unrelated content under the file's name."""
    return [
        b"",
        b"\n \n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        b"<!DOCTYPE html><html><body>404: not found</body></html>",
        b"[" * 50_000,
        b'{"text": ' * 20_000,
        b'[{"text": "one"}, {"text": "two"}]',
        draw.bytes(500),
        pq_bytes_without_rows(),
        gzip.compress(b"One.\n\nTwo."),
    ][draw.integers(0, 10)]


def pq_bytes_without_rows() -> bytes:
    return body(".parquet", {"text": pa.array([], pa.string())})


def spoil(draw: np.random.Generator, kind: str, columns: dict[str, list]) -> bytes:
    """The bytes of a file that is damaged in some way."""
    how = draw.integers(0, 4)
    if how == 0 and kind != ".txt":
        return body(kind, other_columns(draw, columns))
    data = body(kind, columns)
    if how == 1 and kind != ".parquet":
        return other_encoding(draw, data)
    return swapped(draw) if how == 2 else damaged(draw, data)


def corpus_case(draw: np.random.Generator, folder: Path):
    """A corpus folder with one damaged file; returns what opens it and the file."""
    kind = str(draw.choice([".parquet", ".jsonl", ".txt"]))
    packed = str(draw.choice(list(PACKERS))) if kind != ".parquet" else ""
    names = [f"train-{n}{kind}{packed}" for n in range(2)] + [f"validation{kind}{packed}"]
    victim = folder / str(draw.choice(names))
    for name in names:
        (folder / name).write_bytes(PACKERS[packed](body(kind, {"text": TEXTS})))
    data = spoil(draw, kind, {"text": TEXTS})
    outer = draw.random() < 0.3  # damaged after it was compressed
    data = PACKERS[packed](data) if not outer else damaged(draw, victim.read_bytes())
    victim.write_bytes(data)

    def read():
        from predrecon.data.corpus import load_corpus
        from predrecon.data.documents import open_source

        facts = load_corpus(folder).facts
        files = facts["files"]["train"] + facts["files"]["validation"] + list(facts["skipped"])
        assert sorted(names) == sorted(files), facts
        train, validation = (
            list(open_source(str(folder), None).read(split)) for split in ("train", "validation")
        )
        if victim.name.startswith("validation"):
            assert train == TEXTS * 2, train
        else:
            sound = train[:40] if "-1" in victim.name else train[-40:]
            assert sound == validation == TEXTS, (sound, validation)
        counts = [facts[s]["documents"] + facts[s]["without_text"] for s in ("train", "validation")]
        assert counts == [len(train), len(validation)], (facts, len(train), len(validation))

    return read, victim, (folder.name, victim.name)


def task_case(draw: np.random.Generator, folder: Path):
    """The folder of a GLUE task with one damaged file; returns what opens it and the file."""
    name, kind = str(draw.choice(list(TASKS))), str(draw.choice([".parquet", ".jsonl"]))
    parts = ("train", "validation_matched" if name == "mnli" else "validation")
    labels = [n * 7 % 40 / 8 for n in range(40)] if name == "stsb" else [n % 2 for n in range(40)]
    columns = {column: TEXTS for column in TASKS[name]} | {"label": labels}
    (folder / name).mkdir()
    for part in parts:
        (folder / name / f"{part}{kind}").write_bytes(body(kind, columns))
    victim = folder / name / f"{draw.choice(parts)}{kind}"
    victim.write_bytes(spoil(draw, kind, columns))

    def read():
        from predrecon.data.tasks import load_task

        task = load_task(name, folder)
        sound = task.validation if victim.name.startswith("train") else task.train
        assert sound.first == TEXTS and sound.labels.tolist() == labels, sound
        for split in (task.train, task.validation):
            assert len(split) == len(split.first) >= 10 and np.isfinite(split.labels).all()
            assert split.labels.min() >= 0 and split.labels.max() <= 5
            assert all(isinstance(text, str) for text in split.first + (split.second or []))

    return read, victim, (victim.name,)


def judge(read, victim: Path, names: tuple[str, ...], cache: Path) -> str:
    """`read`, `refused`, or what is wrong."""
    started = time.monotonic()
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    try:
        read()
        verdict = "read"
    except ValueError as error:  # SourceError is one
        verdict = "refused"
        if not any(name in str(error) for name in names):
            verdict = f"the message does not name {victim.name}: {error}"
        elif list(cache.glob("corpora/[!.]*")) or list(cache.glob("corpora/.shards*")):
            verdict = f"refused, and cached: {error}"
    except AssertionError as error:
        verdict = f"read wrong: {str(error)[:300]}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        verdict = f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    if time.monotonic() - started > LIMIT:
        verdict = f"took {time.monotonic() - started:.0f} s"
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    arguments = parser.parse_args()
    from predrecon.data import embedded_text

    os.environ["PREDRECON_PROGRESS"] = os.devnull
    verdicts, failures = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        vocabulary = embedded_text.tokenizer_folder()
        (root / "data" / "tokenizer").parent.mkdir()
        (root / "data" / "tokenizer").symlink_to(vocabulary)
        os.environ["PREDRECON_DATA"] = str(root / "data")  # its tokenizer is what "auto" takes
        for number in range(arguments.first, arguments.first + arguments.cases):
            draw = np.random.default_rng([arguments.seed, number])
            folder, cache = root / f"case-{number}", root / "cache"
            folder.mkdir()
            os.environ["PREDRECON_CACHE"] = str(cache)
            make = corpus_case if draw.random() < 0.6 else task_case
            verdict = judge(*make(draw, folder), cache)
            verdicts[verdict if verdict in ("read", "refused") else "failed"] += 1
            if verdict not in ("read", "refused"):
                failures += 1
                print(f"case {number} ({make.__name__}): {verdict}", flush=True)
                shutil.copytree(folder, arguments.keep / folder.name, dirs_exist_ok=True)
            shutil.rmtree(folder)
            shutil.rmtree(cache, ignore_errors=True)
    counts = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"seed {arguments.seed}, {arguments.cases:,} cases: {counts}")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
