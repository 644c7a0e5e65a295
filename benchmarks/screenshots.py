"""Screenshots of exported figures and of explorers, at 800 and 1600 pixels, light and dark.

    python benchmarks/screenshots.py figures/<tag> OUT
    python benchmarks/screenshots.py http://127.0.0.1:8888/lab/tree/<notebook>?token=<token> OUT

The first opens every page of a folder from disk. The second runs a notebook in a JupyterLab that is
already running, started with `--expose-app-in-browser` and with `windowingMode` `none` in its
notebook settings, and captures the notebook's explorers in order. Needs Chromium and the extra
`browser`. Output is lossless WebP with 64 colours: sharp line art at a tenth of the bytes.
"""

import argparse
import io
from pathlib import Path

from lab_page import chromium, execute, launched, open_in_lab
from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTHS, THEMES = (800, 1600), ("light", "dark")
READY = """() => {  // all cells have run, all explorers have drawn
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')];
    const plots = [...document.querySelectorAll('.predrecon-plot > div')];
    return plots.length && plots.every(plot => plot.dataset.drawn)
        && prompts.every(prompt => /\\[\\d+\\]/.test(prompt.textContent)); }"""


def write(png: bytes, file: Path):
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    few = picture.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.convert("RGB").save(file, lossless=True, quality=100, method=6)


def of_pages(page: Page, folder: Path, out: Path):
    """Every exported figure in its page."""
    for source in sorted(folder.glob("*.html")):
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 300})
                page.goto(source.resolve().as_uri())
                page.wait_for_selector(".js-plotly-plot .main-svg")
                page.wait_for_timeout(600)
                write(page.screenshot(full_page=True), out / f"{source.stem}-{width}-{theme}.webp")
        print(source.stem, flush=True)


def of_explorers(page: Page, address: str, out: Path):
    """Every explorer of a notebook with its controls."""
    page.set_viewport_size({"width": 1600, "height": 1500})
    open_in_lab(page, address)
    page.evaluate("window.jupyterapp.shell.collapseLeft()")
    page.add_style_tag(content=".Toastify { display: none }")  # news of Jupyter
    execute(page, "notebook:run-all-cells")
    page.wait_for_function(READY, timeout=600_000)
    cards = page.locator(".jp-OutputArea-child:has(.predrecon-plot)")
    for theme in THEMES:
        execute(page, "apputils:change-theme", theme=f"JupyterLab {theme.title()}")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 3000})
            page.wait_for_timeout(3000)
            for number in range(cards.count()):
                card = cards.nth(number)
                card.scroll_into_view_if_needed()
                page.wait_for_timeout(700)
                write(card.screenshot(), out / f"explorer{number + 1}-{width}-{theme}.webp")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="a folder of exported figures, or a notebook's address")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        page = launched(playwright, chromium()).new_page()
        if args.source.startswith("http"):
            of_explorers(page, args.source, args.out)
        else:
            of_pages(page, Path(args.source), args.out)


if __name__ == "__main__":
    main()
