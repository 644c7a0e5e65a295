"""Masking explorer (notebook 01)."""

import ipywidgets

from predrecon.audit.mask_counts import masked_text
from predrecon.data.corpus import Corpus
from predrecon.recipes import Recipe
from predrecon.workbook.figures.masking import masking_view, sentence_html
from predrecon.workbook.widgets import controls
from predrecon.workbook.widgets.explorer import Explorer, Picture, notice

_OWN = "type your own"


def masking_explorer(recipe: Recipe, corpus: Corpus, *, sentences: int = 8) -> Explorer:
    """A sentence, the scales of its masks and a seed at choice: chips, blocks and coverage follow.

    Args:
        recipe: whose scales the controls start from; its length is where a text is cut.
        corpus: whose tokenizer is used, and whose held-out text offers the first `sentences`.
    """
    given = _sentences(corpus, recipe.length, sentences)

    def draw(text, context, target, targets, keep, probability, seed, step) -> Picture:
        scales = {"context_scale": context, "target_scale": target, "num_targets": targets}
        room = _room(text, corpus.tokenizer, recipe.length)
        found = masked_text(
            text, corpus.tokenizer, recipe.length, **scales, min_context=min(keep, room),
            mlm_probability=probability, seed=seed, step=step,
        )  # fmt: skip
        jepa, mlm = (
            sentence_html(found.tokens, found.jepa_roles, "JEPA branch:"),
            sentence_html(found.masked_tokens, found.mlm_roles, "MLM branch:"),
        )
        cut = ""
        if found.cut:
            total = len(found.tokens) + found.cut
            cut = notice(f"Cut to the first {len(found.tokens):,} of {total:,} tokens.")
        if room < keep:
            cut += notice(f"Min context {keep} lowered to {room}, for a text of this length.")
        figure = masking_view(
            found.context[:12], found.targets[:12], len(found.tokens), found.shares
        )
        parts = [f"{found.jepa_roles.count(role)} {role}" for role in ("context", "target")]
        label = f"Masks of {len(found.tokens)} tokens: {', '.join(parts)}, "
        label += f"{found.mlm_roles.count('masked')} masked"
        return Picture(figure, above=f"{cut}{jepa}<br>{mlm}", label=label)

    layout = ipywidgets.Layout(width="min(100%, 860px)", height="64px")
    text = ipywidgets.Textarea(
        value=given[0],
        description="Text",
        tooltip="any text",
        continuous_update=True,
        layout=layout,
    )
    pick = controls.choice(
        "Pick", [(f"{s[:60]} …", s) for s in given] + [(_OWN, "")], "held-out text"
    )

    def picked(change: dict):
        if change["new"]:
            text.value = change["new"]

    def typed(change: dict):
        if change["new"] != pick.value:
            pick.value = ""

    pick.observe(picked, names="value")
    text.observe(typed, names="value")
    chosen = {
        "text": text,
        "context": controls.share(
            "Context scale", 0.05, 1.0, "context block, share of the text",
            value=recipe.context_scale,
        ),
        "target": controls.share(
            "Target scale", 0.05, 1.0, "a target block, share of the text",
            value=recipe.target_scale,
        ),
        "targets": controls.number("Targets", 1, 6, "target blocks", value=recipe.num_targets),
        "keep": controls.number(
            "Min context", 1, recipe.length, "context tokens that must stay",
            value=recipe.min_context,
        ),
        "probability": controls.share(
            "MLM probability", 0.0, 1.0, "chance of a token to be chosen",
            value=recipe.mlm_probability,
        ),
        "seed": controls.counter("Seed", "of the masks"),
        "step": controls.counter("Step", "of training: another draw of the same seed"),
    }  # fmt: skip
    return Explorer(draw, chosen, head=(pick,))


def _room(text: str, tokenizer, longest: int) -> int:
    """Context tokens that a text of this length can surely keep at the paper's scales."""
    tokens = 2 + len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    return max(1, min(tokens, longest) // 4) if tokens < longest else longest


def _sentences(corpus: Corpus, length: int, count: int) -> list[str]:
    """The beginnings of the first held-out blocks, as text."""
    blocks = corpus.blocks("validation", length)
    rows = blocks.batch(list(range(min(count, len(blocks)))))
    return [corpus.tokenizer.decode(row[1:-1].tolist()) for row in rows]
