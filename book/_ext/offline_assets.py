"""Make the built pages stand on their own: no script from another host, equations without a network.

Sphinx would point every page with a formula at a content delivery network. ``mathjax_path`` in _config.yml names
``offline/tex-svg-full.js`` instead, and this extension puts that file, and its licence, among the built static files.
The SVG build of MathJax is one script that draws its own glyphs, so no font has to be fetched either.

Jupyter Book also adds a launcher for live cells to every page, twice, which makes the browser report an error and
would load the rest of the launcher from elsewhere. The book has no live cells, so the launcher is taken out.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

VENDOR = Path(__file__).resolve().parent.parent / "_vendor"


def copy_vendored_files(app: Sphinx) -> None:
    """Copy book/_vendor into the HTML output; other builders need no script."""
    if app.builder.format == "html":
        shutil.copytree(VENDOR, Path(app.outdir) / "_static" / "offline", dirs_exist_ok=True)


def drop_launcher(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:
    """Take the scripts of the live-cell launcher (thebe) off the page."""
    scripts = context.get("script_files", [])
    context["script_files"] = [
        script for script in scripts if "thebe" not in f"{script.filename} {script.attributes.get('body')}".lower()
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", copy_vendored_files)
    app.connect("html-page-context", drop_launcher)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
