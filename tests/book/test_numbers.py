"""A chapter has the number of its file, however many chapters stand before it: book/_ext/chapter_numbers.py."""

from __future__ import annotations

from io import StringIO

import pytest
import yaml

from tests.book.chapter import ROOT

pytest.importorskip("sphinx_external_toc", reason="the book's tools are not installed")
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

# The extension that goes on counting from part to part asks docutils in an old way.
# And what looks at all loaded modules touches an old name of torch's, where another test has loaded it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:nodes.Node.traverse:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.torch.distributed.reduce_op. is deprecated:FutureWarning"),
]
TOC = """format: jb-book
root: index
parts:
  - {caption: One, numbered: 1, chapters: [{file: notebooks/02_early}]}
  - {caption: Two, numbered: 1, chapters: [{file: notebooks/16_late}]}
"""
CHAPTER = """# {title}

## A section

:::{{exercise}}
:label: ex-{title}
Think.
:::

See {{numref}}`fig-{title}`.

```{{figure}} dot.svg
:name: fig-{title}
A dot.
```
"""
EXTENSIONS = ["myst_parser", "sphinx_external_toc", "sphinx_multitoc_numbering", "sphinx_exercise", "chapter_numbers"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BeautifulSoup]:
    folder = tmp_path_factory.mktemp("numbers")
    source = folder / "source"
    (source / "notebooks").mkdir(parents=True)
    (source / "_toc.yml").write_text(TOC, encoding="utf-8")
    (source / "index.md").write_text("# Front\n", encoding="utf-8")
    (source / "notebooks" / "dot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")
    for name, title in (("02_early", "Early"), ("16_late", "Late")):
        (source / "notebooks" / f"{name}.md").write_text(CHAPTER.format(title=title), encoding="utf-8")
    settings = {
        "extensions": EXTENSIONS,
        "myst_enable_extensions": ["colon_fence"],
        "numfig": True,
        "use_multitoc_numbering": True,
        "html_theme": "sphinx_book_theme",
        "suppress_warnings": ["myst.header"],
    }
    warnings = StringIO()
    with patch_docutils(source), docutils_namespace(), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "book" / "_ext")
        Sphinx(source, None, folder / "out", folder / "trees", "html", settings, status=None, warning=warnings).build()
    assert warnings.getvalue() == ""
    built = {name: folder / "out" / "notebooks" / f"{name}.html" for name in ("02_early", "16_late")}
    return {name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for name, path in built.items()}


@pytest.mark.parametrize(("name", "number"), [("02_early", 2), ("16_late", 16)])
def test_title_contents_figures_and_exercises_carry_the_number_of_the_file(
    pages: dict[str, BeautifulSoup], name: str, number: int
) -> None:
    article = pages[name].select_one("article")
    assert article.select_one("h1").get_text().startswith(f"{number}.")
    numbers = {caption.get_text().strip() for caption in article.select(".caption-number")}
    assert numbers == {f"Fig. {number}.1", f"Exercise {number}.1"}
    assert article.select_one("p a.reference .std").get_text() == f"Fig. {number}.1"
    contents = pages["02_early"].select_one("nav.bd-links").get_text()
    assert f"{number}. " in contents


def test_the_books_parts_name_the_chapters_in_the_order_of_their_numbers() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    numbered = [chapter["file"] for part in toc["parts"] if "numbered" in part for chapter in part["chapters"]]
    assert numbered == sorted(numbered)
