"""Masking explorer (notebook 01)."""

import ipywidgets

from predrecon.corpus import Corpus
from predrecon.figures.masking import masking_view, sentence_html
from predrecon.masking_audit import masked_text
from predrecon.recipes import Recipe
from predrecon.widgets import controls
from predrecon.widgets.explorer import Explorer, Picture, notice

_OWN = "type your own"


def masking_explorer(recipe: Recipe, corpus: Corpus, *, sentences: int = 8) -> Explorer:
    """A sentence, the scales of its masks and a seed at choice: chips, blocks and coverage follow.

    Args:
        recipe: whose scales the controls start from; its length is where a text is cut.
        corpus: whose tokenizer is used, and whose held-out text offers the first `sentences`.
    """
    given = _sentences(corpus, sentences)

    def draw(text, context, target, targets, keep, probability, seed, step) -> Picture:
        scales = {"context_scale": context, "target_scale": target, "num_targets": targets}
        found = masked_text(
            text, corpus.tokenizer, recipe.length, **scales, min_context=keep,
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
        figure = masking_view(
            found.context[:12], found.targets[:12], len(found.tokens), found.shares
        )
        return Picture(figure, above=f"{cut}{jepa}<br>{mlm}")

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
    pick.observe(lambda change: setattr(text, "value", change["new"]), names="value")
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
        "keep": controls.number("Min context", 1, 64, "context tokens that must stay", value=4),
        "probability": controls.share(
            "MLM probability", 0.0, 1.0, "chance of a token to be chosen",
            value=recipe.mlm_probability,
        ),
        "seed": controls.counter("Seed", "of the masks"),
        "step": controls.counter("Step", "of training: another draw of the same seed"),
    }  # fmt: skip
    return Explorer(draw, chosen, head=(pick,))


def _sentences(corpus: Corpus, count: int) -> list[str]:
    """The beginnings of the first held-out blocks, as text."""
    rows = corpus.blocks("validation", 40).batch(list(range(count)))
    return [corpus.tokenizer.decode(row[1:-1].tolist()) for row in rows]
