"""A browser."""

import shutil

import pytest

from jaxpart.report.explorer import explorer

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def screenshots(request):
    """Where pictures of pages are kept: .pytest_cache/d/screenshots."""
    return request.config.cache.mkdir("screenshots")


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a page; whatever it asks for or complains of ends the test."""
    trouble, contexts = [], []

    def asked(request):
        if not request.url.startswith(("file:", "blob:", "data:")):
            trouble.append(request.url)

    def open_page(sets, *, fragment="", text=None, **options):
        """Of the text, or the explorer of patch sets, or, where these are None, the page before."""
        file = tmp_path / "explorer.html"
        if text is None and sets is not None:
            text = explorer(sets)
        if text is not None:
            file.write_text(text, encoding="utf-8")
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("request", asked)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda message: trouble.append(message.text))
        page.goto(f"{file.as_uri()}{fragment}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not trouble
