"""Masking explorer (notebook 01)."""

from predrecon.audit.mask_counts import masked_text
from predrecon.data.corpus import Corpus
from predrecon.recipes import Recipe
from predrecon.workbook.figures.masking import masking_view, sentence_html
from predrecon.workbook.widgets.controls import choice, counter, number, share, text_area
from predrecon.workbook.widgets.explorer import Explorer, Picture, notice

_FIRST = (
    "increase <i>Step</i>: the blocks move, the coverage curves stay; widen <i>Target scale</i>: "
    "targets take away context from the encoder; set <i>MLM probability</i> to 1: every word is "
    "masked, but never [CLS] and [SEP]."
)


def masking_explorer(recipe: Recipe, corpus: Corpus, *, sentences: int = 8) -> Explorer:
    """Choose a sentence, the scales of its masks and a seed; shows chips, blocks and coverage.

    The controls start from the recipe's scales, and a text is cut to the recipe's length. The first
    `sentences` blocks of the held-out text are offered.
    """
    tokenizer = corpus.tokenizer

    def draw(text, context, target, targets, keep, probability, seed, step) -> Picture:
        tokens = 2 + len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        # context tokens that a short text can always keep at the paper's scales
        room = recipe.length if tokens >= recipe.length else max(1, tokens // 4)
        options = dict(context_scale=context, target_scale=target, num_targets=targets)
        options |= dict(mlm_probability=probability, seed=seed, step=step)
        masked = masked_text(text, tokenizer, recipe.length, min_context=min(keep, room), **options)
        length = len(masked.tokens)
        cut = f"Cut to the first {length:,} of {tokens:,} tokens."
        above = notice(cut) if masked.cut else ""
        if room < keep:
            above += notice(f"Min context {keep} lowered to {room}, for a text of this length.")
        above += sentence_html(masked.tokens, masked.jepa_roles, "JEPA branch:") + "<br>"
        above += sentence_html(masked.masked_tokens, masked.mlm_roles, "MLM branch:")
        figure = masking_view(masked.context[:12], masked.targets[:12], length, masked.shares)
        counts = [f"{masked.jepa_roles.count(role)} {role}" for role in ("context", "target")]
        counts.append(f"{masked.mlm_roles.count('masked')} masked")
        return Picture(figure, above, label=f"Masks of {length} tokens: {', '.join(counts)}")

    blocks = corpus.blocks("validation", recipe.length)
    rows = blocks.batch(list(range(min(sentences, len(blocks)))))
    offered = [tokenizer.decode(row[1:-1].tolist()) for row in rows]
    options = [(f"{s[:60]} …", s) for s in offered] + [("type your own", "")]
    pick = choice("Pick", options, "held-out text")
    text = text_area("Text", "any text", offered[0])

    def picked(change: dict):
        text.value = change["new"] or text.value

    def typed(change: dict):
        if change["new"] != pick.value:
            pick.value = ""

    pick.observe(picked, names="value")
    text.observe(typed, names="value")
    context, target = recipe.context_scale, recipe.target_scale
    keep, chance = recipe.min_context, recipe.mlm_probability
    chosen = {
        "text": text,
        "context": share("Context scale", 0.05, "context block, share of the text", context),
        "target": share("Target scale", 0.05, "a target block, share of the text", target),
        "targets": number("Targets", 1, 6, "target blocks", recipe.num_targets),
        "keep": number("Min context", 1, recipe.length, "context tokens that must stay", keep),
        "probability": share("MLM probability", 0.0, "chance that a token is chosen", chance),
        "seed": counter("Seed", "of the masks"),
        "step": counter("Step", "of training: another draw of the same seed"),
    }
    return Explorer(draw, chosen, _FIRST, head=(pick,))
