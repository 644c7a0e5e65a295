"""`make bench`: the speed of the code, compared with the machine's limit and a textbook step.

Prints one JSON line per measure and a table at the end; both go to `benchmarks/results/`. Ratios
come from one run, in turns. Machines differ and are noisy: compare ratios, not numbers of two runs.
"""

import argparse
import dataclasses
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent))
from measure import matrix_rate, peak_memory, result_name, seconds

from predrecon import recipes
from predrecon.data.corpus import load_corpus
from predrecon.training import machine
from predrecon.training.batches import draw_batch, room_for, share_of
from predrecon.training.flops import batch_flops
from predrecon.training.loop import pretrain
from predrecon.training.monitor import Monitor
from predrecon.training.optimizer import build_model, build_optimizer

HERE = Path(__file__).parent
SECTIONS = ("agreement", "hybrid", "mlm", "data", "geometry", "encode", "quality")


class _EnoughError(Exception):
    """Ends a pre-training run from within its log callback."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default="auto", help="auto: wikipedia if here, or docstrings")
    parser.add_argument("--rounds", type=int, default=6, help="default: %(default)s")
    parser.add_argument("--length", type=int, help="default: 128, on a GPU the paper's 512")
    parser.add_argument("--batch", type=int, help="default: 8, on a GPU the paper's 64")
    parser.add_argument("--seconds", type=float, default=150, help="quality: training per model")
    parser.add_argument("--seeds", type=int, default=1, help="quality: default %(default)s")
    parser.add_argument("--tiny", action="store_true", help="a test of a few seconds")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.section:
        print("\n".join(json.dumps(line) for line in _SECTION[args.section](args)))
        return
    lines = []
    for section in args.sections.split(","):  # a process each, for separate memory peaks
        command = [sys.executable, __file__, "--section", section, *["--tiny"] * args.tiny]
        for name in ("corpus", "rounds", "length", "batch", "seconds", "seeds", "out"):
            if getattr(args, name):
                command += [f"--{name}", str(getattr(args, name))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for line in rows:
            print(json.dumps(line), flush=True)
        lines += rows
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    about = machine.environment(device) | {
        "date": time.strftime("%Y-%m-%d"),
        "rounds": args.rounds,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    name = result_name(args.tiny, device)
    text = "\n".join(json.dumps(line) for line in [about, *lines])
    (args.out / f"{name}.jsonl").write_text(text + "\n", encoding="utf-8")
    print(f"\n{platform.machine()}, torch {torch.__version__}")
    for line in lines:
        table = pd.Series({k: v for k, v in line.items() if k != "measure"}, dtype=object)
        print(f"\n{line['measure']}\n{table.to_string()}")


def training(args, arm: str) -> list[dict]:
    """Loop, bare step and textbook step in turns, and the roofline."""
    from textbook import TextbookStep

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    corpus = load_corpus(_corpus(args))
    recipe = _recipe(args, arm, device)
    model = build_model(recipe, corpus, 0).to(device)
    optimizer = build_optimizer(model, recipe)
    blocks = corpus.blocks("train", recipe.length)
    bf16 = machine.precision(recipe.precision, device, recipe.hidden_size) == "bf16"
    if machine.compiles(recipe.compile, device):
        model.compile_blocks()
    plain = TextbookStep(build_model(recipe, corpus, 0).to(device), corpus.tokenizer, recipe.lr)
    rows, room = _rows(args, corpus, recipe), room_for(recipe, 1, device)
    size = recipe.batch_size * recipe.length
    timed: dict[str, list[float]] = {name: [] for name in ("loop", "bare", "textbook", "matrix")}
    real, flops, drawing = [], [], []
    chunk, chunks = recipe.log_every, 8 if device.type == "cpu" and not args.tiny else 2
    times: dict[str, list[float]] = {"loop": [], "bare": []}  # of the chunks of this round
    watch, looks = Monitor(recipe, corpus, device), []
    watch.look(model, 0)  # compiles first, if blocks are compiled

    def bare(batch: dict):
        """What `pretrain` computes, without data, masks, logs and schedules."""
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            out = model(**batch)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if arm == "hybrid":
            model.update_target(0.996)

    def on_log(row: dict):
        """After a chunk: the same steps bare. After a round of chunks: the other measurements."""
        nonlocal started
        _sync(device)
        times["loop"].append(time.perf_counter() - started)
        times["bare"].append(bare_chunk(row["step"] - chunk))
        if len(times["loop"]) == chunks:
            if row["step"] > chunk * chunks:  # the first round warms up
                end_round()
            for kind in times.values():
                kind.clear()
            if len(timed["loop"]) == args.rounds:
                raise _EnoughError
        started = time.perf_counter()

    def bare_chunk(first: int) -> float:
        begun = time.perf_counter()
        steps = range(first, first + chunk)
        whole = [draw_batch(recipe, corpus, blocks, 0, step, device) for step in steps]
        batches = [share_of(batch, 0, 1, room) for batch in whole]
        _sync(device)
        drawing.append((time.perf_counter() - begun) / chunk)
        flops.append(statistics.mean(float(batch_flops(model.config, b)) for b in whole))
        return seconds(lambda: [bare(batch) for batch in batches], device)

    def end_round():
        """The round's speeds, without the first chunk, which ran on the textbook's caches."""
        for kind, took in times.items():
            timed[kind].append((chunks - 1) * chunk * size / sum(took[1:]))
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            look = seconds(lambda: watch.look(model, 1), device)
        looks.append(look * timed["bare"][-1] / size / recipe.monitor_every)
        batch = [next(rows) for _ in range(recipe.batch_size)]
        real.append(sum(t != corpus.tokenizer.pad_token_id for r in batch for t in r))
        plain.step(batch)
        timed["textbook"].append(size / seconds(lambda: plain.step(batch), device))
        dtype = torch.bfloat16 if bf16 else torch.float32
        timed["matrix"].append(matrix_rate(dtype, device, 256 if args.tiny else None))

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            pretrain(recipe, corpus, Path(folder) / "run", seed=0, on_log=on_log)
        except _EnoughError:
            pass
    middle = {name: statistics.median(values) for name, values in timed.items()}
    per_token = statistics.median(flops) / size
    share = statistics.mean(real) / size
    ratio = _middle_ratio(timed["loop"], timed["textbook"])
    line = {
        "measure": f"{arm} training",
        "length": recipe.length,
        "batch": recipe.batch_size,
        "loop tokens/s": round(middle["loop"]),
        "bare tokens/s": round(middle["bare"]),
        "overhead %": round(100 * _middle_ratio(timed["bare"], timed["loop"]) - 100, 1),
        "monitor %": round(100 * statistics.median(looks), 2),
        "precision": "bf16" if bf16 else "fp32",
        "MFLOP/token": round(per_token / 1e6, 1),
        "matrix GFLOP/s": round(middle["matrix"] / 1e9),
        "roofline %": round(100 * per_token * _middle_ratio(timed["loop"], timed["matrix"]), 1),
        "drawing ms/step": round(1e3 * statistics.median(drawing), 2),
        "peak GB": round(peak_memory(device), 2),
        "vocabulary": len(corpus.tokenizer),
        "rounds": args.rounds,
        "textbook positions/s": round(middle["textbook"]),
        "textbook tokens/s": round(middle["textbook"] * share),
        "times textbook": round(ratio / share, 2),
        "times textbook, equal positions": round(ratio, 2),
    }
    return [line]


def data(args) -> list[dict]:
    """MB of text tokenised and written per second, into a new store."""
    from predrecon.data import documents, paths, token_store
    from predrecon.data.corpus import load_tokenizer

    name = _corpus(args)
    source = documents.open_source(name, paths.data_dir())
    tokenizer = load_tokenizer("docstrings" if name == "docstrings" else "bert-base-uncased")
    limit, read = (1e6 if args.tiny else 64e6), {"characters": 0, "bytes": 0}

    def some(split: str):
        for text in source.read(split):
            if split == "train" and read["characters"] > limit:
                return
            read["characters"] += len(text)
            read["bytes"] += len(text.encode())
            yield text

    with tempfile.TemporaryDirectory() as folder:
        took = seconds(lambda: token_store.build(Path(folder) / "store", name, some, tokenizer))
        facts = json.loads((Path(folder) / "store" / "facts.json").read_text(encoding="utf-8"))
    tokens = facts["train"]["tokens"] + facts["validation"]["tokens"]
    return [
        {
            "measure": "preparing data",
            "corpus": name,
            "MB": round(read["bytes"] / 1e6, 1),
            "MB/s": round(read["bytes"] / 1e6 / took, 2),
            "tokens/s": round(tokens / took),
            "peak GB": round(peak_memory(torch.device("cpu")), 2),
        }
    ]


def geometry(args) -> list[dict]:
    """Six metrics, four poolings and the probes of one task, compared with the textbook's."""
    import textbook_geometry as textbook

    from predrecon import probes
    from predrecon.audit import geometry
    from predrecon.audit.statistics import bootstrap_counts
    from predrecon.data.tasks import load_task
    from predrecon.pooling import POOLINGS, embed, token_ids

    n = 200 if args.tiny else 2000
    corpus = load_corpus()
    recipe = recipes.get("smoke" if args.tiny else "paper", length=128, arm="mlm")
    encoder = build_model(recipe, corpus, 0).encoder.eval()
    task = load_task("docs-library")
    texts = (task.train.first + task.validation.first)[:n]
    labels = [*task.train.labels, *task.validation.labels][:n]
    labels = torch.tensor(labels).numpy()
    tokens = probes.frequent_tokens(token_ids(corpus.tokenizer, texts, None, 128))
    counts = bootstrap_counts(n, 2)
    ours, theirs, same = {}, {"z": {}, "m": {}}, []

    def own():
        ours["z"] = embed(encoder, corpus.tokenizer, texts)

    def probed(z):
        return geometry.probe_metrics(z, labels, tokens, "classification", 0, counts)

    def plain():
        theirs["z"] = {
            how: textbook.embed(encoder, corpus.tokenizer, texts, how) for how in POOLINGS
        }

    took = {"embed": (seconds(own), seconds(plain))}

    def own_metrics():
        ours["m"] = geometry.per_pooling(ours["z"], lambda z: geometry.shape_metrics(z, labels))

    def plain_metrics():
        for how, z in theirs["z"].items():
            theirs["m"][how] = textbook.metrics(z, labels)

    took["metrics"] = (seconds(own_metrics), seconds(plain_metrics))
    for how in POOLINGS:
        for name, value in theirs["m"][how].items():
            same.append(abs(ours["m"][how][name] - value) / max(1e-6, abs(value)))
    took["probes"] = (
        seconds(lambda: geometry.per_pooling(ours["z"], probed)),
        seconds(lambda: [textbook.probe(z, labels, tokens) for z in theirs["z"].values()]),
    )
    both = {k: took["embed"][i] + took["metrics"][i] for i, k in enumerate(("ours", "textbook"))}
    line = {
        "measure": "geometry of a task",
        "N": n,
        "D": recipe.hidden_size,
    }
    for part, (a, b) in took.items():
        line |= {
            f"{part} s": round(a, 2),
            f"{part} textbook s": round(b, 2),
            f"{part} times": round(b / a, 1),
        }
    line["geometry times"] = round(both["textbook"] / both["ours"], 1)
    everything = [sum(took[part][i] for part in took) for i in (0, 1)]
    line["with probes times"] = round(everything[1] / everything[0], 1)
    line["largest difference"] = float(f"{max(same):.1e}")
    return [line]


def encode(args) -> list[dict]:
    """Vectors of an encoder of BERT-base's size, compared with sentence-transformers' `encode`."""
    import importlib.util

    import transformers

    from predrecon.data.tasks import load_task
    from predrecon.pooling import POOLINGS, embed, token_ids

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_corpus().tokenizer
    small = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    shape = dict(vocab_size=len(tokenizer), max_position_embeddings=128)
    config = transformers.BertConfig(**shape | (small if args.tiny else {}))
    encoder = transformers.BertModel(config).eval().to(device)
    task = load_task("docs-library")
    texts = (task.train.first + task.validation.first)[: 50 if args.tiny else 1000]
    tokens = sum(map(len, token_ids(tokenizer, texts, None, 128)))
    ways = {"ours": lambda: embed(encoder, tokenizer, texts)}
    if importlib.util.find_spec("sentence_transformers"):
        theirs = _sentence_transformer(encoder, tokenizer)
        for batch in (32, 128):  # its default, and a larger one
            name = f"sentence-transformers, batch {batch}"
            ways[name] = lambda batch=batch: theirs.encode(texts, batch_size=batch)
    timed = {name: [] for name in ways}
    for _ in range(1 if args.tiny else 3):
        for name, way in ways.items():
            timed[name].append(tokens / seconds(way, device))
    line = {"measure": "encoding", "texts": len(texts), "tokens": tokens}
    line |= {"poolings": len(POOLINGS), "width": config.hidden_size}
    line |= {f"{name} tokens/s": round(statistics.median(rates)) for name, rates in timed.items()}
    if len(ways) > 1:
        best = max(list(ways)[1:], key=lambda name: statistics.median(timed[name]))
        line["share of the faster"] = round(_middle_ratio(timed["ours"], timed[best]), 2)
    return [line]


def _sentence_transformer(encoder, tokenizer):
    """sentence-transformers' model of the same weights, with mean pooling."""
    from sentence_transformers import SentenceTransformer, models

    with tempfile.TemporaryDirectory() as folder:
        encoder.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        words = models.Transformer(folder, max_seq_length=128)
    pooling = models.Pooling(encoder.config.hidden_size, pooling_mode="mean")
    return SentenceTransformer(modules=[words, pooling], device=str(encoder.device))


def _recipe(args, arm: str, device: torch.device):
    """The paper's model: L = 128 and batch 8 on a CPU, the paper's recipe on a GPU."""
    preset, gpu = "smoke" if args.tiny else "paper", device.type == "cuda"
    shape = {} if gpu or args.tiny else {"length": 128, "batch_size": 8}
    chosen = {"length": args.length, "batch_size": args.batch}
    shape |= {name: value for name, value in chosen.items() if value}
    recipe = recipes.get(preset, arm=arm, precision="auto", **shape)
    every = (3 if args.tiny else 20) if gpu else 1  # a log line waits for the GPU
    more = {"max_steps": 10**6, "log_every": every, "checkpoint_every": 10**9}
    return dataclasses.replace(recipe, **more)


def _corpus(args) -> str:
    from predrecon.data import paths

    root = paths.data_dir()
    there = root is not None and (root / "wikipedia").is_dir()
    chosen = "wikipedia" if there and not args.tiny else "docstrings"
    return chosen if args.corpus == "auto" else args.corpus


def _rows(args, corpus, recipe):
    """Paragraphs of the held-out text, each cut or padded to the length, in a cycle."""
    import itertools

    from textbook import padded_rows

    from predrecon.data import documents, paths

    source = documents.open_source(corpus.name, paths.data_dir())
    texts = itertools.islice(source.read("validation"), 40)
    paragraphs = [p for text in texts for p in text.split("\n") if len(p) > 40]
    return itertools.cycle(padded_rows(corpus.tokenizer, paragraphs[:2000], recipe.length))


def _middle_ratio(one: list[float], other: list[float]) -> float:
    """Median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _sync(device: torch.device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def agree(args) -> list[dict]:
    """Both arms on this device against float64 on the CPU."""
    from agreement import agreement

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    corpus = load_corpus("docstrings")
    return [agreement(arm, corpus, device, tiny=args.tiny) for arm in ("hybrid", "mlm")]


def quality(args) -> list[dict]:
    """Seconds of training to a held-out loss, compared with transformers' models and Trainer."""
    from quality import quality

    return quality(args)


_SECTION = {
    "agreement": agree,
    "hybrid": lambda args: training(args, "hybrid"),
    "mlm": lambda args: training(args, "mlm"),
    "data": data,
    "geometry": geometry,
    "encode": encode,
    "quality": quality,
}

if __name__ == "__main__":
    main()
