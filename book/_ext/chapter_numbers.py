"""Give each chapter the number its file has: figures and exercises of ``16_privacy`` are 16.1, 16.2, ...

Sphinx counts the pages of a numbered part from one, so a chapter that is still to be written would shift all that come
after it. The files' names say which number a chapter has, in the text of other chapters as in the table of contents.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles

CHAPTER = re.compile(r"notebooks/(\d\d)_\w+")
Assign = Callable[[Any, BuildEnvironment], list[str]]


def renumber(env: BuildEnvironment) -> None:
    """Put the files' numbers in the first place of all section numbers of the chapters."""
    for docname, numbers in env.toc_secnumbers.items():
        if not (found := CHAPTER.fullmatch(docname)):
            continue
        chapter = int(found[1])
        for anchor, number in numbers.items():
            if number:  # sections below the depth that is numbered have none
                numbers[anchor] = (chapter, *number[1:])
        env.titles[docname]["secnumber"] = (chapter,)
        for link in env.tocs[docname].findall(nodes.reference):
            if link.get("secnumber"):
                link["secnumber"] = (chapter, *link["secnumber"][1:])


def with_file_numbers(assign: Assign) -> Assign:
    """Sphinx's numbering, then ours; figures are numbered after it, and so follow."""

    def assign_section_numbers(self: Any, env: BuildEnvironment) -> list[str]:
        changed = assign(self, env)
        renumber(env)
        return changed

    return assign_section_numbers


def setup(app: Sphinx) -> dict[str, Any]:
    collector: Any = TocTreeCollectorWithStyles
    collector.assign_section_numbers = with_file_numbers(collector.assign_section_numbers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
