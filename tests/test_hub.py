"""Data of the hub: downloaded, cached, or an error in seconds. The hub is an imitation."""

import hashlib
import json
import shutil
import time

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predrecon.data import embedded_text
from predrecon.data.corpus import load_corpus, load_tokenizer
from predrecon.data.readers import SourceError
from predrecon.data.tasks import MissingLabelsError, load_task

COMMIT = "0123456789abcdef" * 2 + "01234567"


class Hub:
    """As much of the hub as a download needs: `files/owner/name` are its repositories."""

    def __init__(self, files):
        self.files, self.online, self.requests = files, True, []

    def answer(self, request):
        self.requests.append(f"{request.method} {request.url.path}")
        if not self.online:
            raise httpx2.ConnectError("no route to the hub")
        path = request.url.path.removeprefix("/api").removeprefix("/models")
        parts = path.removeprefix("/datasets").strip("/").split("/")
        repository, kind, place = self.files.joinpath(*parts[:2]), parts[2:3], "/".join(parts[4:])
        if kind == ["revision"]:
            return httpx2.Response(200, json={"id": "/".join(parts[:2]), "sha": COMMIT})
        if kind == ["tree"] and (repository / place).is_dir():
            entries = [
                {"type": "file" if file.is_file() else "directory", "oid": "0",
                 "path": file.relative_to(repository).as_posix(), "size": file.stat().st_size}
                for file in (repository / place).iterdir()
            ]  # fmt: skip
            return httpx2.Response(200, json=entries)
        if kind != ["resolve"] or not (repository / place).is_file():
            return httpx2.Response(404, headers={"X-Error-Code": "EntryNotFound"})
        body = (repository / place).read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        return httpx2.Response(200, content=body, headers={"X-Repo-Commit": COMMIT, "ETag": etag})

    def downloads(self):
        return [r for r in self.requests if r.startswith("GET") and "00000-of-" in r]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An imitation of the hub, with empty caches and no local data."""
    import datasets
    from huggingface_hub import HfFileSystem, constants, get_session, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PREDRECON_DATA", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets-cache"))
    set_offline(monkeypatch, False)
    hub, hooks = Hub(tmp_path / "files"), default_client_factory().event_hooks
    set_client_factory(
        lambda: httpx2.Client(
            transport=httpx2.MockTransport(lambda request: hub.answer(request)),
            event_hooks=hooks,
            follow_redirects=True,
        )
    )
    session = get_session()
    before = session.event_hooks
    yield hub
    assert get_session() is session and session.event_hooks == before, "left as it was"
    set_client_factory(default_client_factory)
    HfFileSystem.clear_instance_cache()


def set_offline(monkeypatch, offline):
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", offline)


@pytest.fixture(scope="session")
def tokenizer_dir():
    return embedded_text.tokenizer_folder()


def add_dataset(hub, repository, **configs):
    """Write `{config: {split: columns}}`, and the card that says where a split's files are."""
    card = []
    for config, splits in configs.items():
        folder = hub.files / repository / config
        folder.mkdir(parents=True, exist_ok=True)
        for split, columns in splits.items():
            pq.write_table(pa.table(columns), folder / f"{split}-00000-of-00001.parquet")
        places = [{"split": split, "path": f"{config}/{split}-*"} for split in splits]
        card.append({"config_name": config, "data_files": places})
    text = f"---\n{json.dumps({'configs': card})}\n---\n"
    (hub.files / repository / "README.md").write_text(text)


def add_sst2(hub, sentences, labels):
    columns = {"sentence": sentences, "label": labels, "idx": list(range(len(labels)))}
    splits = dict.fromkeys(("train", "validation"), columns)
    add_dataset(hub, "nyu-mll/glue", cola={"train": columns}, sst2=splits)


def fill(hub, tokenizer_dir):
    """Three data sets, one of them as jsonl and one in two files, and a tokenizer."""
    lines = [" = T = ", "", " some words of text "]
    splits = {split: {"text": lines * n} for split, n in dict(train=30, validation=4).items()}
    add_dataset(hub, "Salesforce/wikitext", **{"wikitext-103-raw-v1": splits})
    folder = hub.files / "Salesforce/wikitext/wikitext-103-raw-v1"
    pq.write_table(pa.table({"text": lines * 10}), folder / "train-00001-of-00002.parquet")
    texts = [f"Document {i} has a few words. " * 20 for i in range(120)]
    wikipedia = {config: {"train": {"text": texts}} for config in ("20231101.de", "20231101.en")}
    add_dataset(hub, "wikimedia/wikipedia", **wikipedia)
    for parquet in (hub.files / "wikimedia/wikipedia").glob("*/*.parquet"):
        jsonl = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        parquet.with_suffix(".jsonl").write_text(jsonl)
        parquet.unlink()
    add_sst2(hub, ["Good.", "Bad."] * 5, [1, 0] * 5)
    model = shutil.copytree(tokenizer_dir, hub.files / "google-bert/bert-base-uncased")
    (model / "config.json").write_text('{"model_type": "bert"}')


def check_all(tokenizer_dir):
    wikitext = load_corpus("wikitext-103", tokenizer=tokenizer_dir)
    assert wikitext.facts["train"]["documents"] == 40
    assert wikitext.facts["validation"]["documents"] == 4
    wikipedia = load_corpus("wikipedia", tokenizer=tokenizer_dir)
    assert wikipedia.facts["train"]["documents"] == 117
    assert wikipedia.facts["validation"]["documents"] == 3
    sst2 = load_task("sst2")
    assert sst2.train.first[:2] == ["Good.", "Bad."]
    assert sst2.validation.labels.tolist() == [1, 0] * 5
    vocabulary = load_tokenizer("bert-base-uncased").get_vocab()
    assert vocabulary == load_tokenizer(tokenizer_dir).get_vocab()
    return wikitext.fingerprint, wikipedia.fingerprint


@pytest.mark.parametrize("offline", [True, False])
def test_files_are_downloaded_once_and_then_used_without_a_network(
    tmp_path, hub, tokenizer_dir, monkeypatch, offline
):
    fill(hub, tokenizer_dir)
    fingerprints = check_all(tokenizer_dir)
    downloads = hub.downloads()
    assert any("20231101.en/train-00000-of-00001.jsonl" in file for file in downloads)
    assert len(set(downloads)) == len(downloads)
    assert not [file for file in downloads if "20231101.de" in file or "cola" in file], (
        "no more than is read"
    )
    set_offline(monkeypatch, offline)
    hub.online = False
    hub.requests.clear()
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path / "another cache"))
    started = time.monotonic()
    assert check_all(tokenizer_dir) == fingerprints
    assert time.monotonic() - started < 15, "without retries"
    loads = 2 + 1 + 2 + 1  # splits of the three data sets, and the tokenizer
    assert len(hub.requests) == (0 if offline else loads), "asked once each time"
    next((tmp_path / "datasets-cache").rglob("wikitext-train*.arrow")).unlink()
    with pytest.raises(SourceError, match="Three ways out"):
        load_corpus("wikitext-103", tokenizer=tokenizer_dir)


@pytest.mark.parametrize("offline", [True, False])
def test_offline_is_an_error_with_ways_out(hub, tokenizer_dir, monkeypatch, offline):
    """Told to be offline, and finding it out."""
    from huggingface_hub import constants

    set_offline(monkeypatch, offline)
    hub.online = False
    started = time.monotonic()
    with pytest.raises(SourceError) as caught:
        load_corpus("wikitext-103", tokenizer=tokenizer_dir)
    message = str(caught.value)
    assert "no answer from the hub, and not in its cache" in message
    for part in ("PREDRECON_DATA (not set)", "Salesforce/wikitext", "Three ways out", "docstrings"):
        assert part in message
    with pytest.raises(SourceError, match="bert-base-uncased"):
        load_tokenizer("bert-base-uncased")
    assert time.monotonic() - started < 15, "without retries"
    assert len(hub.requests) == (0 if offline else 2), "asked once each time"
    assert constants.HF_HUB_OFFLINE == offline, "the setting is left alone"


def test_own_text_offline_takes_the_embedded_tokenizer_and_says_so(
    hub, tokenizer_dir, monkeypatch, tmp_path, capsys
):
    hub.online = False
    file = tmp_path / "own.txt"
    file.write_text("\n\n".join(f"A document about the number {n}." for n in range(100)))
    monkeypatch.setattr("predrecon.data.embedded_text.tokenizer_folder", lambda: tokenizer_dir)
    corpus = load_corpus(file)
    assert "neither on this machine" in capsys.readouterr().out
    assert corpus.fingerprint == load_corpus(file, tokenizer="docstrings").fingerprint
    with pytest.raises(SourceError, match="bert-base-uncased"):
        load_corpus(file, tokenizer="bert-base-uncased")


def test_a_repository_the_hub_does_not_have_is_named(hub):
    with pytest.raises(SourceError, match=r"nyu-mll/glue \(sst2, train\)(.|\n)*Three ways out"):
        load_task("sst2")


def break_file(hub):
    file = next(hub.files.glob("nyu-mll/glue/sst2/train-*"))
    file.write_bytes(file.read_bytes()[:-40])


def break_transfer(hub):
    whole = hub.answer

    def truncated(request):
        response = whole(request)
        if request.method == "GET" and "sst2/train-" in request.url.path:
            headers = {**response.headers, "Content-Length": str(len(response.content))}
            return httpx2.Response(200, content=response.content[:-40], headers=headers)
        return response

    hub.answer = truncated


def break_types(hub):
    """A split in two files of other columns: no data set can be built."""
    folder = hub.files / "nyu-mll/glue/sst2"
    pq.write_table(pa.table({"another": [{"a": 1}]}), folder / "train-00001-of-00002.parquet")


def break_hub(hub):
    hub.answer = lambda request: httpx2.Response(503)


@pytest.mark.parametrize("damage", [break_file, break_transfer, break_types, break_hub])
def test_failures_of_the_hub_are_the_same_error(hub, damage):
    add_sst2(hub, ["Good.", "Bad."], [1, 0])
    damage(hub)
    with pytest.raises(SourceError, match=r"nyu-mll/glue \(sst2, train\)(.|\n)*Three ways out"):
        load_task("sst2")


@pytest.mark.parametrize(
    ("sentences", "labels", "message"),
    [
        (["x"] * 8, [0] * 7 + [7], "column 'label' holds 7 in row 7, expected integers 0 to 1"),
        (["x"] * 7 + [None], [0] * 8, "column 'sentence' has no value in row 7"),
        (list(range(8)), [0] * 8, "column 'sentence' holds 0 in row 0, not text"),
        (["x"] * 8, [0] * 7 + [None], "column 'label' has no value in row 7"),
    ],
)
def test_bad_rows_of_the_hub_are_named(hub, sentences, labels, message):
    add_sst2(hub, sentences, labels)
    with pytest.raises(SourceError) as caught:
        load_task("sst2")
    assert f"the hub's nyu-mll/glue (sst2, train): {message}" in str(caught.value)


def test_a_missing_column_of_the_hub_is_named(hub):
    add_dataset(hub, "nyu-mll/glue", sst2={"train": {"text": ["x"], "label": [0]}})
    with pytest.raises(SourceError, match=r"sst2, train\): no column 'sentence'; it has text, lab"):
        load_task("sst2")


def test_own_text_without_a_network_has_no_labels_and_says_so(tmp_path, hub, capsys):
    from predrecon.workbook import Notebook

    hub.online = False
    (tmp_path / "a.txt").write_text("One.\n\nTwo.")
    own = {"corpus": str(tmp_path / "a.txt")}
    assert Notebook("smoke", **own).first_task is None
    line = capsys.readouterr().out
    assert line.startswith("No labels: SST-2 is neither on this machine") and line.count("\n") == 1
    with pytest.raises(MissingLabelsError, match="Three ways out"):
        _ = Notebook("smoke", **own).tasks
    with pytest.raises(MissingLabelsError):
        _ = Notebook("smoke", **own, tasks="cola").first_task
    assert Notebook("smoke", **own, tasks="docs-swap,sst2").first_task.name == "docs-swap"
    assert Notebook("smoke").first_task.name == "docs-library"


def test_damaged_labels_are_a_line_where_none_were_asked_for(tmp_path, capsys):
    from predrecon.workbook import Notebook

    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "train.jsonl").write_text("{")
    (tmp_path / "a.txt").write_text("One.\n\nTwo.")
    book = Notebook("smoke", corpus=str(tmp_path / "a.txt"), data_dir=str(tmp_path))
    assert book.first_task is None
    assert "train.jsonl, line 1: not JSON" in capsys.readouterr().out
    with pytest.raises(SourceError, match=r"train\.jsonl, line 1: not JSON"):
        _ = book.tasks


def test_a_damaged_cache_of_the_hub_is_named():
    """Damaged only where the reader does not look when it opens the cache."""
    from predrecon.data.hub import HubSplit

    class Damaged:
        column_names, cache_files = ["sentence", "label"], [{"filename": "/cache/some.arrow"}]

        def select_columns(self, columns):
            return self

        def with_format(self, kind):
            return self

        def iter(self, size):
            raise pa.ArrowInvalid("Corrupted buffer header")

    with pytest.raises(SourceError, match=r"place: Corrupted buffer header.*/cache/some\.arrow"):
        list(HubSplit("place", Damaged()).read_rows(("sentence",), ("label",)))
