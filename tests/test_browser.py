"""The explorers in a real JupyterLab, and exported pages with the network off, in Chromium."""

import io
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from lab_page import chromium as find_chromium
from lab_page import execute, launched, open_in_lab

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "only-for-this-test"
CHANGES = 20  # of a control, for the latency
pytestmark = pytest.mark.browser

# what the front end shows: the traces of the first explorer's plot, as one string
DRAWN = """() => JSON.stringify(document.querySelector('.predrecon-plot .js-plotly-plot').data
    .map(t => [t.name, t.y?.bdata ?? Array.from(t.y ?? [])]))"""
HOVERS = """() => [...document.querySelectorAll('.predrecon-plot .js-plotly-plot')].at(-1).data
    .map(t => Array.from(t.customdata, (number, i) => t.text[i]?.length > 0))"""
PARTS = """explorer => Object.fromEntries(['controls', 'picture', 'numbers'].map(name => {
    const box = explorer.querySelector(`.predrecon-${name}`).getBoundingClientRect();
    return [name, [box.left, box.top, box.right, box.bottom]]; }))"""
CUT = """explorer => { // what sticks out of the explorer, and outputs that scroll sideways
    const right = explorer.getBoundingClientRect().right + 1;
    const inside = [...explorer.querySelectorAll('.predrecon-body *')].filter(
        e => !e.closest('.predrecon-scroll') && !e.closest('svg') && e.offsetWidth);
    const out = explorer.closest('.jp-OutputArea-child');
    return [...inside.filter(e => e.getBoundingClientRect().right > right).map(e => e.className),
        ...(out.scrollWidth > out.clientWidth + 1 ? ['the cell scrolls'] : [])]; }"""
OVERLAPS = """explorer => { // labels of one axis that lie on each other
    const found = [];
    for (const layer of explorer.querySelectorAll('.xaxislayer-above, .yaxislayer-above')) {
        const boxes = [...layer.querySelectorAll('.xtick text, .ytick text')].map(
            e => [e.textContent, e.getBoundingClientRect(), e.getAttribute('transform')]);
        for (const [i, [text, a, turn]] of boxes.entries())
            for (const [other, b] of boxes.slice(i + 1))
                if (!/rotate\\((?!0)/.test(turn) && a.left < b.right && b.left < a.right
                    && a.top < b.bottom - 2 && b.top < a.bottom - 2) found.push([text, other]); }
    return found; }"""
NAMELESS = """explorer => [...explorer.querySelectorAll('input, select, textarea, button')].filter(
    e => e.offsetWidth && !(e.labels?.length || e.ariaLabel || e.title || e.textContent.trim()))
    .map(e => e.outerHTML)"""
PALE = """explorer => { // text outside of plots whose contrast with its ground is below 4.5
    const rgba = text => text.match(/[\\d.]+/g).map(Number);
    const over = ([r, g, b, a = 1], under) => [r, g, b].map((v, i) => a * v + (1 - a) * under[i]);
    const light = color => color.map(v => v / 255).map(
        v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0.05);
    const ground = e => e ? over(rgba(getComputedStyle(e).backgroundColor), ground(e.parentElement))
        : [255, 255, 255];
    const walker = document.createTreeWalker(explorer, NodeFilter.SHOW_TEXT), pale = [];
    for (let node; node = walker.nextNode();) {
        const e = node.parentElement;
        if (!node.textContent.trim() || !e.offsetWidth) continue;
        if (e.closest('.predrecon-plot, option')) continue;
        const below = ground(e), ink = over(rgba(getComputedStyle(e).color), below);
        const ratio = Math.max(light(ink) / light(below), light(below) / light(ink));
        if (ratio < 4.5) pale.push([node.textContent.trim().slice(0, 40), ratio]);
    }
    return pale; }"""
SMALL = """from predrecon.workbook import Notebook, widgets
book = Notebook("smoke")
widgets.masking_explorer(book.recipe, book.corpus)
###
widgets.training_explorer([run.folder for run in book.runs.values()])
###
widgets.probing_explorer(book.encoders, book.tasks[:1], max_train=80)"""
CLICK = """async name => {
    const plot = document.querySelector('.predrecon-plot [data-drawn]');
    const before = plot.dataset.drawn, begun = performance.now();
    [...document.querySelectorAll('.widget-toggle-button')]
        .find(button => button.textContent.trim() === name).click();
    while (plot.dataset.drawn === before && performance.now() - begun < 20000)
        await new Promise(done => setTimeout(done, 2));
    return plot.dataset.drawn === before ? null : performance.now() - begun; }"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium on this machine")
    os.environ.setdefault("HOME", str(tmp_path_factory.mktemp("home")))  # for its driver
    with sync_api.sync_playwright() as playwright:
        browser = launched(playwright, executable)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on a copy of the notebooks, at the size of the smoke preset."""
    root = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    cells = [nbformat.v4.new_code_cell(source) for source in SMALL.split("\n###\n")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    small = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(small, root / "notebooks" / "small.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = root / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)  # all cells stay on the page, in view or not
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"),
        "PREDRECON_PRESET": "smoke",
        "PREDRECON_RUNS": str(root / "runs"),
        "PREDRECON_FIGURES": str(root / "figures"),
        "JUPYTER_CONFIG_DIR": str(root / "config"),
        "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={port}",
               "--ip=127.0.0.1", f"--ServerApp.token={TOKEN}", f"--ServerApp.root_dir={root}",
               "--allow-root", "--expose-app-in-browser"]  # fmt: skip
    log = (root / "lab.log").open("w")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((root / "lab.log").read_text()[-2000:])
        yield address
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def opened(browser, lab, notebook, *, explorers, minutes=8):
    """A page on which all cells of a notebook have run and its explorers have drawn; and errors."""
    page = browser.new_page(viewport={"width": 1400, "height": 1100})
    errors = []
    page.on("pageerror", lambda error: errors.append(f"{error} {error.stack}"))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    own = f"workspaces/{Path(notebook).stem}"  # a shared one opens the last page's notebook too
    open_in_lab(page, f"{lab}/lab/{own}/tree/notebooks/{notebook}?token={TOKEN}")
    execute(page, "notebook:run-all-cells")
    page.wait_for_function(
        f"document.querySelectorAll('.predrecon-plot [data-drawn]').length >= {explorers}",
        timeout=minutes * 60_000,
    )
    return page, errors


def problems(errors):
    """Errors of the console, except two that are harmless: Lab looks for settings that were
    never saved (404), and anywidget's two seconds ran out on a busy page, which explorers handle.
    """
    expected_errors = ("404 (Not Found)", "Failed to initialize model")
    return [e for e in errors if not any(k in e for k in expected_errors)]


def latencies(page, names):
    times = []
    for turn in range(CHANGES):
        times.append(page.evaluate(CLICK, names[turn % len(names)]))
        page.wait_for_timeout(150)
    return times


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_geometry_in_jupyterlab(chromium, lab, record_property):
    page, errors = opened(chromium, lab, "05_geometry.ipynb", explorers=1)
    states = {page.evaluate(DRAWN)}
    poolings = ["max", "weighted", "attention", "mean"]
    times = latencies(page, poolings)  # the first round draws, the others are remembered
    states.add(page.evaluate(DRAWN))
    assert page.evaluate(CLICK, "max") is not None
    states.add(page.evaluate(DRAWN))
    before = page.locator(".predrecon-plot [data-drawn]").first.get_attribute("data-drawn")
    page.locator(".widget-dropdown select").first.select_option(index=2)
    page.wait_for_function(
        "before => document.querySelector('.predrecon-plot [data-drawn]').dataset.drawn != before",
        arg=before,
    )
    states.add(page.evaluate(DRAWN))
    assert len(states) >= 3, "another pooling and another task are other numbers"
    label = page.locator(".predrecon-plot [role=img]").first.get_attribute("aria-label")
    assert "max pooling" in label
    assert not problems(errors)
    assert None not in times, "every change of pooling is drawn"
    median = statistics.median(times)
    record_property("latency_ms", median)
    print(f"a change of pooling shows after {median:.0f} ms (median of {CHANGES})")
    page.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_maps_in_jupyterlab(chromium, lab):
    page, errors = opened(chromium, lab, "05c_spectra_and_maps.ipynb", explorers=1)
    hovers = page.evaluate(HOVERS)  # texts and figure came apart
    assert hovers and all(of_trace and all(of_trace) for of_trace in hovers)
    chosen = page.locator(".predrecon-plot").first
    chosen.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    box = chosen.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=8)
    page.mouse.up()
    page.wait_for_selector("text=/\\d+ chosen/", timeout=20_000)
    assert not problems(errors)
    page.close()


def test_masks_in_jupyterlab(chromium, lab):
    page, errors = opened(chromium, lab, "01_masking.ipynb", explorers=1)
    area = page.locator(".widget-textarea textarea").first
    area.scroll_into_view_if_needed()
    area.fill("this function will return an array with the sum of all the values")
    page.wait_for_selector("figure >> text=array", timeout=10_000)
    area.fill("")
    page.wait_for_selector("[role=alert] >> text=The text is empty", timeout=10_000)
    area.fill("🙂 שלום " * 30)
    page.wait_for_selector("[role=alert] >> text=Cut to the first 48", timeout=10_000)
    assert page.locator("text=The text is empty").count() == 0
    assert page.locator("text=Traceback").count() == 0
    assert not problems(errors)
    page.close()


def test_exported_pages_switch_without_a_network(chromium, tmp_path):
    """Opened from disk: menus choose, nothing is fetched, nothing fails."""
    from predrecon.workbook import pages

    page_file = tmp_path / "05.html"
    pages.to_html(ROOT / "notebooks" / "05_geometry.ipynb", page_file)
    context = chromium.new_context(offline=True, viewport={"width": 800, "height": 1000})
    page = context.new_page()
    errors, requests = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    page.wait_for_selector(".js-plotly-plot .updatemenu-header-group", timeout=60_000)
    plot = page.locator(".js-plotly-plot:has(.updatemenu-header-group)").first
    plot.scroll_into_view_if_needed()

    def shown():
        return plot.evaluate(
            "p => JSON.stringify(p.data.filter(t => t.visible !== false)"
            ".map(t => Array.from(t.y?._inputArray ?? t.y ?? [])))"
        )

    views = [shown()]
    for choice in (1, 3):  # max and attention; the third, weighted, is drawn as the mean
        plot.locator(".updatemenu-header").first.click()
        plot.locator(".updatemenu-dropdown-button").nth(choice).click()
        page.wait_for_timeout(500)
        views.append(shown())
    assert len(set(views)) == 3, "each choice changes what is drawn"
    choices = page.locator(".menus").first.locator("select").first
    assert choices.evaluate("list => list.selectedIndex") == 3, "the list follows the menu"
    choices.focus()
    for before in (0, 1, 0):  # weighted, max, mean
        page.keyboard.press("ArrowUp")
        page.wait_for_timeout(500)
        assert shown() == views[before], "keys go back to the first choice"
    assert not errors
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
    context.close()


@pytest.mark.parametrize("stem", sorted(f.stem for f in (ROOT / "notebooks").glob("*.ipynb")))
def test_exported_pages_have_no_serious_accessibility_finding(chromium, tmp_path, stem):
    """axe-core in a light and in a dark browser, at 800 pixels: nothing serious, nothing cut."""
    reason = "axe-playwright-python is not installed"
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=reason).Axe()
    from predrecon.workbook import pages

    page_file, serious = tmp_path / "page.html", []
    pages.to_html(ROOT / "notebooks" / f"{stem}.ipynb", page_file)
    for scheme in ("light", "dark"):
        page = chromium.new_page(viewport={"width": 800, "height": 1000}, color_scheme=scheme)
        page.goto(page_file.as_uri())
        page.wait_for_load_state()
        found = axe.run(page, context={"exclude": [[".main-svg"]]}).response["violations"]
        found = [finding for finding in found if finding["impact"] in ("serious", "critical")]
        serious += [(scheme, f["id"], node["html"]) for f in found for node in f["nodes"]]
        assert page.evaluate("document.documentElement.scrollWidth") <= 800, scheme
        page.close()
    assert not serious


def test_explorers_use_the_width_follow_the_theme_and_leave_a_picture(chromium, lab):
    """800 and 1600 pixels, light and dark; then opened again without the kernel."""
    image = pytest.importorskip("PIL.Image")
    page, errors = opened(chromium, lab, "small.ipynb", explorers=3)
    page.evaluate("window.jupyterapp.shell.collapseLeft()")
    explorers = page.locator(".predrecon-explorer")
    drawn = "document.querySelector('.predrecon-plot [data-drawn]').dataset.drawn"
    count = page.evaluate(drawn)
    for theme in ("Light", "Dark"):
        execute(page, "apputils:change-theme", theme=f"JupyterLab {theme}")
        for width in (800, 1600):
            page.set_viewport_size({"width": width, "height": 1200})
            page.wait_for_timeout(1500)
            for explorer in (explorers.nth(number) for number in range(3)):
                here = (theme, width, explorer.evaluate("e => e.innerText.slice(0, 60)"))
                assert here[2].startswith("Try first:"), here
                parts = explorer.evaluate(PARTS)
                (_, top, right, bottom), controls = parts["picture"], parts["controls"]
                if width == 1600:
                    assert controls[0] > right and parts["numbers"][0] > right, here
                else:
                    assert controls[3] <= top and parts["numbers"][1] >= bottom, here
                for question in (CUT, OVERLAPS, NAMELESS, PALE):
                    assert explorer.evaluate(question) == [], here
            plot = explorers.nth(1).locator(".predrecon-plot").screenshot()
            pixels = image.open(io.BytesIO(plot)).convert("L")
            ground = 17 if theme == "Dark" else 255
            assert abs(pixels.getpixel((3, pixels.height - 3)) - ground) <= 1, "the theme's own"
    assert page.evaluate(drawn) == count, "no theme and no width draws anything anew"
    assert not problems(errors)
    stills = page.locator(".jp-RenderedPlotly")
    assert stills.count() == 3 and not stills.first.is_visible(), "the explorer takes its place"
    execute(page, "docmanager:save")
    execute(page, "kernelmenu:shutdown")
    page.close()
    page = chromium.new_page(viewport={"width": 1400, "height": 1100})
    open_in_lab(page, f"{lab}/lab/workspaces/again/tree/notebooks/small.ipynb?token={TOKEN}")
    # plotly's renderer saves a picture with the notebook, and shows that until it is clicked
    page.wait_for_selector(".jp-RenderedPlotly :is(.main-svg, .plot-img)", timeout=30_000)
    stills = page.locator(".jp-RenderedPlotly")
    assert stills.count() == 3 and stills.first.is_visible()
    page.close()
