"""Pages that need neither kernel nor network: exported notebooks, figures and their gallery."""

import json
import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote

import nbformat
import pandas as pd
import plotly.graph_objects as go
import pytest

from predrecon.workbook import figures, pages
from predrecon.workbook.figures import gallery

TITLE = "Losses <b>of both arms</b><br>R&D & a < b"
WORDS = "Losses of both arms R&D & a < b"
LOADS = {"src", "srcset", "data", "poster", "background", "action"}


class Reader(HTMLParser):
    """Keeps what a page would load, where it leads, and its pictures."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.leads, self.tags, self.labels = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.loads += [attrs[name] for name in LOADS & set(attrs)]
        if "href" in attrs:
            (self.leads if tag == "a" else self.loads).append(attrs["href"])
        if attrs.get("role") == "figure":
            self.labels.append(attrs["aria-label"])


def figure(y=1.0, title=TITLE):
    fig = go.Figure(go.Bar(x=["SST-2"], y=[y], name="hybrid"))
    return fig.update_layout(title=dict(text=title, subtitle=dict(text="one seed")))


def needs_no_network(text):
    scripts = "".join(re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL))
    styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL))
    styles = re.sub(r"/\*.*?\*/", "", styles, flags=re.DOTALL)
    loads = [load for load in Reader(text).loads if not load.startswith("data:")]
    return (
        not [load for load in loads if "//" in load or not load]
        and not re.search(r"\bimport\b|fetch\(|cdn", scripts)
        and not re.search(r"@import|url\(['\"]?(https?:)?//", styles)
    )


def notebook(folder, outputs, text=""):
    made = nbformat.v4.new_notebook()
    made.cells = [nbformat.v4.new_markdown_cell(text)]
    for datas in outputs:
        cell = nbformat.v4.new_code_cell("explore()", execution_count=1)
        cell.outputs = [nbformat.v4.new_output("display_data", data=data) for data in datas]
        made.cells.append(cell)
    made.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    nbformat.write(made, folder / "some.ipynb")
    pages.to_html(folder / "some.ipynb", folder / "some.html")
    return (folder / "some.html").read_text(encoding="utf-8")


PLOTLY = {gallery.PLOTLY: json.loads(figure().to_json()), "text/plain": "[figure]"}
VIEW = {pages.WIDGET: {"model_id": "1", "version_major": 2, "version_minor": 0}}
VIEW |= {"text/plain": "VBox(...)"}


def test_a_figure_is_shown_whatever_widget_comes_with_it(tmp_path):
    html = notebook(tmp_path, [[PLOTLY | VIEW], [PLOTLY], [VIEW, PLOTLY]])
    assert html.count("Plotly.newPlot(") == 3
    assert "widget-view" not in html and "VBox" not in html and pages._NOTE not in html
    assert Reader(html).labels == [WORDS] * 3
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000


def test_a_widget_alone_leaves_a_note(tmp_path):
    html = notebook(tmp_path, [[VIEW], [PLOTLY]])
    assert html.count(pages._NOTE) == 1 and html.count("Plotly.newPlot(") == 1


def drawn(tmp_path, text):
    """The page of a markdown cell: its text, and display of each formula in it."""
    html = notebook(tmp_path, [], text)
    body = html[html.index("<main>") :]
    return body, [attrs["display"] for tag, attrs in Reader(body).tags if tag == "math"]


def test_formulas_are_drawn_without_a_script(tmp_path):
    text = (
        "Of $w$ it is $\\lambda = \\sigma(w)$,\n\n$$L = \\frac{1}{N}\n\\sum_i l_i$$\n\n"
        "costs 5$ and 6$ or \\$7 and \\$8, `$HOME` and `$x$` and `$$y$$` stay\n\n"
        "```python\na = '$b$ $$c$$'\n```\n"
    )
    page, formulas = drawn(tmp_path, text)
    assert formulas == ["inline", "inline", "block"]
    for kept in ("5$ and 6$", "$7 and $8", "<code>$HOME</code>", "<code>$x$</code>"):
        assert kept in page
    assert "<code>$$y$$</code>" in page and "$b$ $$c$$" in page
    assert "<mfrac><mrow><mn>1</mn></mrow><mrow><mi>N</mi></mrow></mfrac>" in page


PLACES = {
    "heading": ("## About $x_i * y_i * z$", "<h2[^>]*>About <math", ["inline"]),
    "list": ("- one $a_1$\n- two\n\n  $$b_2$$", "<li>.*<math.*<li>.*<math", ["inline", "block"]),
    "table": ("| a | b |\n|---|---|\n| $a_1$ | $b_2$ |", "<td><math", ["inline", "inline"]),
    "quote": ("> so $a_1$\n>\n> $$b\n> = c$$", "<blockquote>.*<math.*</bl", ["inline", "block"]),
    "strong": ("**of $a_1$** and [$b_2$](#there)", "<strong>of <math", ["inline", "inline"]),
    "sentence": ("so $$a_1$$ is", "so <span[^>]*><math", ["block"]),
    "lines": ("$$\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}$$", "<mtable", ["block"]),
    "environment": ("\\begin{align} a &= b \\\\ c &= d \\end{align}", "<mtable", ["block"]),
}


@pytest.mark.parametrize("place", PLACES)
def test_formulas_are_drawn_wherever_markdown_has_text(tmp_path, place):
    text, pattern, displays = PLACES[place]
    page, formulas = drawn(tmp_path, text)
    assert formulas == displays and re.search(pattern, page, re.DOTALL)
    assert "$" not in page and "<em>" not in page and ":math" not in page


def test_a_folded_answer_stays_folded_and_holds_its_formulas(tmp_path):
    text = "<details><summary>Answer</summary>\n\nIt <b>is</b> $a_1$.\n\n$$b$$\n\n</details>"
    page, formulas = drawn(tmp_path, text)
    inside = page[page.index("<details>") : page.index("</details>")]
    assert formulas == ["inline", "block"] and inside.count("<math") == 2 and "<b>is</b>" in inside


@pytest.mark.parametrize(("tex", "reason"), [("x^", "Missing"), (r"\foo x", "foo"), ("a & b", "&")])
def test_tex_that_cannot_be_read_stays_and_is_reported(tmp_path, tex, reason):
    with pytest.warns(UserWarning, match=rf"No formula: '{re.escape(repr(tex)[1:-1])}' .*{reason}"):
        page, formulas = drawn(tmp_path, f"Here ${tex}$ and $a < b$.")
    assert formulas == ["inline"] and f"${tex}$" in unescape(page)


def test_pages_and_figures_follow_a_dark_browser(tmp_path):
    html = notebook(tmp_path, [[PLOTLY]])
    assert html.count('media="(prefers-color-scheme: dark)"') == 1 and 'lang="en"' in html
    assert html.index("plotly.min.js") < html.index("Plotly.newPlot = ") < html.index("<main>")
    assert html.index("<main>") < html.index("Plotly.newPlot(")


def test_a_notebook_page_loads_nothing_from_elsewhere(tmp_path):
    html = notebook(tmp_path, [[PLOTLY | VIEW]], r"Here $\lambda_i * a_i * b$ and $$\sum_i x_i$$.")
    assert needs_no_network(html)
    assert Reader(html).loads == ["plotly.min.js"]
    assert html.count("<math") == 2 and "<em>" not in html, "formulas drawn by the browser"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_FIGURES", str(tmp_path))
    monkeypatch.setattr(
        "predrecon.workbook.figures.gallery.write_images",
        lambda *_, **__: "no Chrome or Chromium found",
    )
    return tmp_path


def put(tag, **figs):
    gallery = figures.Gallery(tag)
    for stem, fig in figs.items():
        gallery.entries[stem] = (fig, pd.DataFrame({"value": [1.0]}))
    return gallery.export()


def test_the_gallery_lists_every_figure_of_every_tag(root):
    put("demo-wikipedia-max_steps=3000", losses=figure())
    put("b", other=figure(title="Another"))
    put("b", third=figure(title='A "third"'))
    (root / "b" / "05_old.png").write_bytes(b"picture")
    (root / "b" / "third.png").write_bytes(b"picture")
    gallery.write_gallery(root)
    text = (root / "index.html").read_text(encoding="utf-8")
    page = Reader(text)
    local = [link for link in page.leads if not link.startswith("#")]
    assert all((root / unquote(link)).is_file() for link in local + page.loads)
    assert [unquote(link) for link in local if not link.endswith(".csv")] == [
        "b/05_old.png", "b/other.html", "b/third.html",
        "demo-wikipedia-max_steps=3000/losses.html",
    ]  # fmt: skip
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert ids == {unquote(link[1:]) for link in page.leads if link.startswith("#")}
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [(i["alt"], i["loading"]) for i in images] == [
        ("Preview: 05 old", "lazy"), ('Preview: A "third"', "lazy")
    ]  # fmt: skip
    words = ("R&amp;D &amp; a &lt; b", "Another", "A &#34;third&#34;", "one seed", "4 figures")
    assert all(word in text for word in words)
    assert needs_no_network(text) and "prefers-color-scheme" in text


@pytest.mark.slow
@pytest.mark.parametrize("missing", [True, False])
def test_without_a_browser_that_draws_there_are_no_pictures(tmp_path, monkeypatch, missing):
    """None where it should be, and one that ends at once."""
    monkeypatch.setenv("PREDRECON_FIGURES", str(tmp_path))
    monkeypatch.setenv("BROWSER_PATH", "/no/such/browser" if missing else "/bin/false")
    reason = "no Chrome or Chromium found" if missing else "the browser failed (BrowserFailedError)"
    assert put("a", one=figure()).endswith(f"(and data/); no PNG: {reason}")
    assert (tmp_path / "a" / "one.html").is_file() and (tmp_path / "data/a/one.csv").is_file()


def test_what_is_gone_leaves_the_gallery(root):
    put("a", one=figure(), two=figure())
    (root / "a" / "one.html").unlink()
    put("c", three=figure())
    leads = Reader((root / "index.html").read_text(encoding="utf-8")).leads
    assert "a/one.html" not in leads and {"a/two.html", "c/three.html"} <= set(leads)


def test_a_gallery_that_fails_to_be_written_leaves_the_old_one(root, monkeypatch):
    put("a", one=figure())
    before = (root / "index.html").read_text(encoding="utf-8")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("predrecon.data.files.sync", full)
    with pytest.raises(OSError, match="disk full"):
        gallery.write_gallery(root)
    assert (root / "index.html").read_text(encoding="utf-8") == before
    assert not list(root.glob(".index*"))


def test_a_figure_page_stands_alone_and_leads_back(root):
    put("a", one=figure())
    text = (root / "a" / "one.html").read_text(encoding="utf-8")
    page = Reader(text)
    assert needs_no_network(text) and page.loads == ["../plotly.min.js"]
    assert page.leads == ["../index.html", "../data/a/one.csv"]
    assert page.labels == [WORDS] and "<title>Losses of both arms R&amp;D" in text


def test_a_menu_is_a_list_for_the_keyboard_too():
    fig = figures.switchable({"SST-2": figure(), "<b> & c": figure()}, "Task & more")
    for content in (fig, json.loads(fig.to_json())):
        html = gallery.figure_div(content)
        choices = "<option>SST-2</option><option>&lt;b&gt; &amp; c</option>"
        assert f"<label>Task &amp; more <select>{choices}</select></label>" in html
        assert html.index("<select>") < html.index('role="figure"'), "not a part of the picture"
    assert "<select>" not in gallery.figure_div(figure())


def test_titles_in_one_line_without_tags():
    assert gallery.words(TITLE) == WORDS
    assert gallery.words("p<0.05, q>1") == "p<0.05, q>1" and gallery.words(None) == ""
