"""Rules on exercises: stub, hint, check and a solution that runs. Every public function of this file is a rule."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from nbformat import NotebookNode

from tests.book.chapter import Chapter, printed, tags, where

LEVELS = [("★", "Warm-up"), ("★★", "Build"), ("★★★", "Research")]
BLANK = "# your code"
MARK = re.compile(
    r"^:{3,}\{exercise\} (?P<title>[^\n]+)\n:label: (?P<label>[\w-]+)$"
    r'|^(?P<hint><details class="hint"><summary>Hint</summary>\n\n.+?\n\n</details>)$'
    r"|^:{3,}\{solution-start\} (?P<start>[\w-]+)\n:label: (?P<name>[\w-]+)\n:class: dropdown$"
    r"|^:{3,}(?P<end>\{solution-end\})$",
    flags=re.DOTALL | re.MULTILINE,
)


@dataclass
class Exercise:
    """What belongs to one exercise; ``order`` tells its parts in the order they come in, as one letter each."""

    title: str
    label: str
    order: str = "e"
    stubs: list[NotebookNode] = field(default_factory=list)
    solutions: list[NotebookNode] = field(default_factory=list)


def exercises_have_three_levels(chapter: Chapter) -> list[str]:
    """One warm-up, one to build, one for research, in this order."""
    titles = [exercise.title for exercise in _exercises(chapter)]
    wanted = [f"{stars} {level}: " for stars, level in LEVELS]
    if len(titles) == 3 and all(title.startswith(start) for title, start in zip(titles, wanted, strict=True)):
        return []
    return [f"the exercises are {titles}, but must begin with {wanted}"]


def exercises_have_all_their_parts(chapter: Chapter) -> list[str]:
    """Exercise, hint, stub, start of the solution, its cells and its end, in this order and with matching labels."""
    return [
        f"the exercise {exercise.label} must have, in this order: a label ex-..., a hint, a cell tagged exercise, "
        "solution-start with that label and a label sol-... of class dropdown, cells tagged solution, solution-end"
        for exercise in _exercises(chapter)
        if not re.fullmatch(r"ehx\(s+\)", exercise.order) or not exercise.label.startswith("ex-")
    ]


def exercise_cells_belong_to_exercises(chapter: Chapter) -> list[str]:
    """Their tags, and the directives, are used in the section Exercises only."""
    known = [id(cell) for exercise in _exercises(chapter) for cell in exercise.stubs + exercise.solutions]
    tagged = [cell for cell in chapter.code if {"exercise", "solution"} & set(tags(cell))]
    return [
        f"{where(cell)} is tagged as part of an exercise, but stands in none"
        for cell in tagged
        if id(cell) not in known
    ]


def solutions_fill_in_their_stubs(chapter: Chapter) -> list[str]:
    """Line by line the same, but that a line with ``# your code`` stands for one line or more."""
    complaints = []
    for stub, solution, label in _pairs(chapter):
        if BLANK not in stub.source:
            complaints.append(f"the stub of {label} leaves nothing to write: mark the line with {BLANK}")
        lines = [r"(?:.*\n)+?" if BLANK in line else re.escape(line) + r"\n" for line in _lines(stub)]
        if not re.fullmatch("".join(lines), "\n".join([*_lines(solution), ""])):
            missing = [line for line in _lines(stub) if BLANK not in line and line not in _lines(solution)]
            hint = f'lacks its line "{missing[0].strip()}"' if missing else "has its lines in another order"
            complaints.append(f"the solution of {label} is not its stub filled in: it {hint}")
    return complaints


def exercises_end_in_a_check(chapter: Chapter) -> list[str]:
    """The last statement of stub and solution calls ``book.check``."""
    return [
        f"{where(cell)} must end in a call of book.check, as stub and solution of {label} both do"
        for stub, solution, label in _pairs(chapter)
        for cell in (stub, solution)
        if not any(re.search(r"\bcheck\(", ast.unparse(last)) for last in ast.parse(cell.source).body[-1:])
    ]


def stubs_say_not_done_yet(chapter: Chapter) -> list[str]:
    return [
        f'the stub of {label} must print "not done yet"'
        for stub, _, label in _pairs(chapter)
        if "not done yet" not in printed(stub)
    ]


def solutions_are_right(chapter: Chapter) -> list[str]:
    """As their stored checks say."""
    complaints = []
    for exercise in _exercises(chapter):
        text = "\n".join(map(printed, exercise.solutions))
        if ": right" not in text or ": not yet" in text or "not done yet" in text:
            complaints.append(f'the solution of {exercise.label} must print "right", and nothing else about its answer')
    return complaints


def _exercises(chapter: Chapter) -> list[Exercise]:
    """The exercises of a chapter, each with the cells that belong to it."""
    found: list[Exercise] = []
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            for mark in MARK.finditer(cell.source):
                if mark["label"]:
                    found.append(Exercise(mark["title"], mark["label"]))
                elif found:
                    found[-1].order += _letter(mark, found[-1].label)
        elif found and "exercise" in tags(cell):
            found[-1].stubs.append(cell)
            found[-1].order += "x"
        elif found and "solution" in tags(cell):
            found[-1].solutions.append(cell)
            found[-1].order += "s"
    return found


def _letter(mark: re.Match[str], label: str) -> str:
    if mark["start"]:
        return "(" if mark["start"] == label and mark["name"] == label.replace("ex-", "sol-", 1) else "?"
    return "h" if mark["hint"] else ")"


def _pairs(chapter: Chapter) -> list[tuple[NotebookNode, NotebookNode, str]]:
    return [(one.stubs[0], one.solutions[0], one.label) for one in _exercises(chapter) if one.stubs and one.solutions]


def _lines(cell: NotebookNode) -> list[str]:
    return cell.source.rstrip().split("\n")
