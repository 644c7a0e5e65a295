"""A notebook in a JupyterLab in Chromium: for the browser tests and the screenshots.

The server must have been started with `--expose-app-in-browser`.
"""

import shutil

COMMAND = "([name, args]) => window.jupyterapp.commands.execute(name, args)"
IDLE = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
ASKS = "dialog.jp-Dialog"  # the dialog for a kernel, shown if the first was too slow to start
SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def chromium() -> str | None:
    """The path of this machine's Chromium."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def launched(playwright, executable: str | None):
    """A browser that draws WebGL without a graphics card."""
    arguments = ["--no-sandbox", "--disable-quic", *SOFTWARE_GL]
    return playwright.chromium.launch(executable_path=executable, args=arguments)


def open_in_lab(page, address: str):
    """Open the address and wait until its kernel is idle."""
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
    page.wait_for_function(f"document.querySelector('{ASKS}') || {IDLE}", timeout=180_000)
    if page.locator(ASKS).count():
        page.click(f"{ASKS} .jp-mod-accept")
        page.wait_for_function(IDLE, timeout=180_000)


def execute(page, name: str, **arguments):
    """Run a command of JupyterLab and wait for its end."""
    page.evaluate(COMMAND, [name, arguments])
