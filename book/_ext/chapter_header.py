"""Put what a reader wants to know about a chapter's run on its page: minutes, seconds, profile, provenance.

All of it is read from the notebook at build time, so that no chapter repeats it in its text. ``tools/execute.py``
writes ``metadata.fedlib`` when it runs a chapter; a notebook without it, or with half of it, is a warning.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

COLAB = "https://colab.research.google.com"
PROFILES = ("smoke", "cpu", "full")

logger = logging.getLogger(__name__)


def minutes_to_read(notebook: Mapping[str, Any]) -> int:
    """Minutes for the text cells at 200 words a minute, rounded up to a multiple of 5."""
    cells = ("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    words = sum(len(cell.split()) for cell in cells)
    return 5 * math.ceil(words / 200 / 5)


def measured(profile: str, runs: Mapping[str, Any]) -> str:
    """What a run in this profile took, for instance ``119 s (cpu)`` or ``400 s (full, NVIDIA H200)``."""
    if profile not in runs:
        return f"{profile}: not measured"
    seconds, device = runs[profile]["seconds"], runs[profile]["device"]
    where = profile if device == "cpu" else f"{profile}, {device}"
    return f"{max(1, round(seconds))} s ({where})"


def facts(notebook: Mapping[str, Any]) -> list[str]:
    """The header's entries; a KeyError or a TypeError says that the metadata is not what it should be."""
    run = notebook["metadata"]["fedlib"]
    run["runs"][run["profile"]]
    return [
        f"{minutes_to_read(notebook)} minutes to read",
        "runs in " + " · ".join(measured(profile, run["runs"]) for profile in PROFILES),
        f"outputs: profile {run['profile']}",
    ]


def provenance(notebook: Mapping[str, Any]) -> str:
    """Where the outputs on the page come from, in a sentence or two; errors as for ``facts``."""
    run = notebook["metadata"]["fedlib"]
    versions, hashes = run["versions"], run["hashes"]
    tools = f"Python {versions['python']}, fedlib {versions['fedlib']}, torch {versions['torch']}"
    return (
        f"Outputs of this page: profile {run['profile']}, device {run['device']}, {tools}. "
        f"Data: {', '.join(sorted(hashes['data'])) or 'none'}. Code cells: {hashes['cells'][:8]}."
    )


def colab_address(config: Config, docname: str) -> str | None:
    """Where Colab opens this notebook, or None as long as the repository has no address."""
    options = config.html_theme_options
    if not options.get("repository_url"):
        return None
    path = options["repository_url"].removeprefix("https://github.com").rstrip("/")
    return f"{COLAB}/github{path}/blob/{options['repository_branch']}/{docname}.ipynb"


def add_facts(app: Sphinx, doctree: nodes.document) -> None:
    """Insert the header after a chapter's title and the provenance at its end."""
    docname = app.env.docname
    source = Path(app.env.doc2path(docname))
    if source.suffix != ".ipynb":
        return
    notebook = json.loads(source.read_text(encoding="utf-8"))
    try:
        entries, origin = facts(notebook), provenance(notebook)
    except (KeyError, TypeError, AttributeError) as error:
        message = "metadata.fedlib is missing or incomplete (%s %s): run make execute NOTEBOOK=%s"
        logger.warning(message, type(error).__name__, error, source.stem, location=docname, type="fedlib")
        return
    items = [nodes.list_item("", nodes.paragraph("", entry)) for entry in entries]
    if address := colab_address(app.config, docname):
        link = nodes.reference("", "Open in Colab", refuri=address)
        items.append(nodes.list_item("", nodes.paragraph("", "", link)))
    title = next(doctree.findall(nodes.title))
    title.parent.insert(title.parent.index(title) + 1, nodes.bullet_list("", *items, classes=["chapter-facts"]))
    title.parent.append(nodes.paragraph("", origin, classes=["chapter-provenance"]))


def follow_repository(app: Sphinx, config: Config) -> None:
    """Show the buttons that lead to the repository if it has an address, and only then."""
    options = config.html_theme_options
    options["use_repository_button"] = options["use_issues_button"] = bool(options.get("repository_url"))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", follow_repository)
    app.connect("doctree-read", add_facts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
