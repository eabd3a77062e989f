"""Rules on figures. Every public function of this file is a rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from matplotlib.colors import is_color_like
from nbformat import NotebookNode

from tests.book.chapter import Chapter, figure, prose, shown, where

SHORTEST_ALT = 40
COLOUR = re.compile(r".*colou?rs?|c|fc|ec|mfc|mec|cmap")
FILE_NAME = re.compile(r"\b\w+\.(png|svg|jpe?g|gif|pdf)\b")


def figures_are_described(chapter: Chapter) -> list[str]:
    """A cell that shows a picture has an alternative text, a caption and a name."""
    cells = [cell for cell in chapter.code if any(map(_is_picture, cell.outputs))]
    return [
        f"{where(cell)} shows a figure without {part}"
        for cell in cells
        for part, option in (("alternative text", "alt"), ("a caption", "caption"), ("a name", "name"))
        if not figure(cell).get(option)
    ]


def alternative_texts_describe(chapter: Chapter) -> list[str]:
    """They are long enough to, are not the caption once more, and are no file's name."""
    complaints = []
    for cell in chapter.code:
        alt = figure(cell).get("alt")
        if alt is not None and len(alt) < SHORTEST_ALT:
            complaints.append(f"{where(cell)} has an alternative text of {len(alt)} characters: say what is to be seen")
        if alt is not None and alt == figure(cell).get("caption"):
            complaints.append(f"{where(cell)} has one text twice: the caption says what follows from what is seen")
        if alt is not None and FILE_NAME.search(alt):
            complaints.append(f"{where(cell)} has a file's name as alternative text")
    return complaints


def figure_cells_show_one_figure(chapter: Chapter) -> list[str]:
    """A caption belongs to one figure, and to nothing else the cell might show."""
    return [
        f"{where(cell)} has a caption and must show one figure and nothing else"
        for cell in chapter.code
        if figure(cell) and [_is_picture(output) for output in shown(cell)] != [True]
    ]


def figures_are_referred_to(chapter: Chapter) -> list[str]:
    """But for the first, which tells the chapter's story."""
    names = [figure(cell)["name"] for cell in chapter.code if "name" in figure(cell)]
    return [f"the figure {name} is nowhere referred to" for name in names[1:] if f"`{name}`" not in prose(chapter)]


def colours_come_from_the_palette(chapter: Chapter) -> list[str]:
    """No colour is written down in a chapter: fedlib.book.plots has those that everybody can tell apart."""
    return [
        f"{where(cell)} writes down the colour {colour!r}: take one of fedlib.book.plots"
        for cell in chapter.code
        for colour in _colours(ast.parse(cell.source))
    ]


def _is_picture(output: NotebookNode) -> bool:
    return any(mime.startswith("image/") for mime in output.get("data", {}))


def _colours(tree: ast.Module) -> Iterator[str]:
    """Strings that are hex codes, and names of colours given to an argument or a key for colours."""
    for node in ast.walk(tree):
        given = [(node.arg or "", node.value)] if isinstance(node, ast.keyword) else []
        if isinstance(node, ast.Dict):
            given = [
                (ast.unparse(key).strip("'\""), value) for key, value in zip(node.keys, node.values, strict=True) if key
            ]
        for name, value in given:
            if COLOUR.fullmatch(name):
                yield from (text for text in _strings(value) if text != "none" and is_color_like(text))
        if isinstance(node, ast.Constant) and re.fullmatch(r"#[0-9a-fA-F]{3,8}", str(node.value)):
            yield str(node.value)


def _strings(tree: ast.expr) -> list[str]:
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
