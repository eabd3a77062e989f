"""Pages made of the package itself: docstrings through autodoc, and the command line's own help.

The book is built without a network, so names of other packages stay text. Names of ours must resolve: a docstring that
refers to something that is not there fails the build.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

SETTINGS = {
    "add_module_names": False,
    "autodoc_class_signature": "mixed",
    "autodoc_inherit_docstrings": False,  # torch's text for nn.Module.forward is not ours
    "autodoc_member_order": "bysource",
    "autodoc_preserve_defaults": True,  # a default that is a path would name the machine the book was built on
    "autodoc_type_aliases": {"ArrayLike": "ArrayLike"},
    "python_maximum_signature_line_length": 78,
}
OTHERS = ("collections", "matplotlib", "numpy", "pandas", "pathlib", "pd", "PIL", "scipy", "torch", "typing")
IMPORTED = ("ArrayLike", "Image", "NDArray", "Path", "Tensor")  # the same packages' names as an annotation writes them


def configure(app: Sphinx, config: Config) -> None:
    """Set autodoc to what these pages need."""
    for name, value in SETTINGS.items():
        setattr(config, name, value)


def parsable(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """A signature to show: ``...`` for a default made anew, nothing where only a base class takes arguments."""
    if signature and signature.startswith("(*args"):
        return "", result
    return signature and signature.replace("<factory>", "..."), result


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, name: nodes.TextElement) -> nodes.Node | None:
    """A link for a short name that one object of the package has, plain text for a name of another package.

    Docstrings and postponed annotations write ``Split`` where Sphinx expects ``fedlib.data.interactions.Split``.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    if target in IMPORTED or target.partition(".")[0] in OTHERS:
        return name
    known = env.get_domain("py").get_objects()
    found = {(page, anchor) for full, _, _, page, anchor, _ in known if full.endswith("." + target)}
    if len(found) != 1:
        return None
    page, anchor = found.pop()
    link = nodes.reference("", "", name, internal=True)
    link["refuri"] = app.builder.get_relative_uri(node["refdoc"], page) + "#" + anchor
    return link


class CommandHelp(SphinxDirective):
    """``fedlib ... --help``, as the command prints it."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        from typer.testing import CliRunner

        from fedlib.cli import app

        command = (self.arguments[0] if self.arguments else "").split()
        shown = CliRunner().invoke(app, [*command, "--help"], prog_name="fedlib", env={"COLUMNS": "80"})
        if shown.exit_code:
            raise self.error(shown.output)
        return [nodes.literal_block(shown.output, shown.output, language="text")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("config-inited", configure)
    app.connect("autodoc-process-signature", parsable)
    app.connect("missing-reference", resolve)
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
