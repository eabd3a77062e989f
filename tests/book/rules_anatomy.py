"""Rules on the parts of a chapter and their order. Every public function of this file is a rule."""

from __future__ import annotations

import re

from tests.book.chapter import Chapter, code_under, figure, headings, printed, prose, section, tags, tool, where

PARTS = [
    "Entry check",
    "What leaves the device?",
    "From the blank cell to the package",
    "Experiment",
    "Break it",
    "Paper beside ours",
    "Exercises",
    "Quiz",
    "Summary",
]
EITHER_WAY = PARTS[1:3]
ITEMS = ["You will", "You need", "Data", "Sources"]
MOST_CELLS, MOST_LINES, MOST_COLUMNS, MOST_WORDS = 45, 25, 78, 3500


def begins_with_title_and_promise(chapter: Chapter) -> list[str]:
    """The first cell is a title and one to three sentences."""
    first = chapter.cells[0]
    found = re.fullmatch(r"# [^\n]+\n\n(.+)", first.source.strip(), flags=re.DOTALL)
    if first.cell_type != "markdown" or not found:
        return [f"{where(first)} must be the title, an empty line and the promise"]
    sentences = len(re.findall(r"[.!?](?=\s|$)", found[1]))
    return (
        [] if 1 <= sentences <= 3 else [f"the promise under the title has {sentences} sentences, but may have 1 to 3"]
    )


def setup_cell_is_the_generated_one(chapter: Chapter) -> list[str]:
    """The second cell, and no other, is the set-up cell that tools/address.py writes."""
    address = tool("address")
    cells = [cell for cell in chapter.cells if "setup" in tags(cell)]
    if len(cells) != 1 or cells[0] is not chapter.cells[1]:
        return ["the set-up cell, and no other cell, must stand right after the title with the tag setup"]
    if tags(cells[0]) != ["setup", "hide-input"] or cells[0].metadata.get("cellView") != "form":
        return ['the set-up cell\'s header must be: # %% cellView="form" tags=["setup", "hide-input"]']
    if cells[0].source.rstrip() != address.setup_cell(address.repository()):
        return ["the set-up cell is not the generated one: run python tools/address.py"]
    return []


def story_figure_stands_before_the_glance(chapter: Chapter) -> list[str]:
    """The first cell a reader sees after the set-up shows a figure; cells with code for it are removed."""
    seen = [cell for cell in chapter.cells[2:] if "remove-cell" not in tags(cell)]
    return [] if seen and figure(seen[0]).get("name") else ["the set-up cell must be followed by the story's figure"]


def at_a_glance_has_its_items(chapter: Chapter) -> list[str]:
    box = re.search(
        r"^:::\{admonition\} At a glance\n:class: tip\n(.*?)\n:::$", section(chapter, ""), flags=re.M | re.S
    )
    if not box:
        return ["before the first section there must be an admonition, At a glance, of class tip"]
    items = re.findall(r"^- \*\*([^*]+)\*\*", box[1], flags=re.MULTILINE)
    return [] if items == ITEMS else [f"At a glance has the items {', '.join(items)} in place of {', '.join(ITEMS)}"]


def sections_are_there_in_order(chapter: Chapter) -> list[str]:
    """The fixed sections occur once, in order; what leaves the device may come after the package."""
    found = [heading for heading in headings(chapter) if heading in PARTS]
    complaints = [f'the section "{part}" must occur once' for part in PARTS if found.count(part) != 1]
    swapped = [PARTS[0], *reversed(EITHER_WAY), *PARTS[3:]]
    if not complaints and found not in (PARTS, swapped):
        complaints.append(f"the sections stand in the order {', '.join(found)}, but must be {', '.join(PARTS)}")
    return complaints


def readers_predict_three_times(chapter: Chapter) -> list[str]:
    count = len(re.findall(r"^:::\{admonition\} Predict, then run\n:class: important$", prose(chapter), flags=re.M))
    return [] if count >= 3 else [f"there are {count} boxes Predict, then run, of class important, but must be 3"]


def results_stand_beside_baselines(chapter: Chapter) -> list[str]:
    """Some output of the experiment has the rows random, popularity and local-only."""
    texts = [printed(cell).lower() for cell in code_under(chapter, "Experiment")]
    if any(all(row in text for row in ("random", "popularity", "local-only")) for text in texts):
        return []
    return ["the experiment has no table with the rows random, popularity and local-only"]


def protocol_stands_under_the_results(chapter: Chapter) -> list[str]:
    text = section(chapter, "Experiment")
    facts = {"K": r"\bK = ", "ties": r"\bties?\b|equal scores", "negatives": "negatives", "seeds": r"\bseeds?\b",
             "sha256": "sha256"}  # fmt: skip
    missing = [name for name, pattern in facts.items() if not re.search(pattern, text)]
    return [f"the experiment's protocol line does not mention {', '.join(missing)}"] if missing else []


def summary_has_five_bullets(chapter: Chapter) -> list[str]:
    """Five bullets, then what next."""
    bullets, next_, _ = section(chapter, "Summary").partition("**What next")
    count = len(re.findall(r"^- ", bullets, flags=re.MULTILINE))
    complaints = [] if count == 5 else [f"the summary has {count} bullets, but must have 5"]
    return complaints if next_ else [*complaints, "the summary must go on with **What next?**"]


def further_reading_is_cited(chapter: Chapter) -> list[str]:
    reading = section(chapter, "Summary").partition("**Further reading")[2]
    return [] if "{cite" in reading else ["the summary must end in **Further reading.** with citations"]


def few_code_cells(chapter: Chapter) -> list[str]:
    count = len(chapter.code)
    return [] if count <= MOST_CELLS else [f"there are {count} code cells, but may be {MOST_CELLS}"]


def short_code_cells(chapter: Chapter) -> list[str]:
    """At most 25 lines of at most 78 characters; the set-up cell is generated, and folded away."""
    complaints = []
    for cell in chapter.code:
        lines = cell.source.rstrip().split("\n")
        if len(lines) > MOST_LINES:
            complaints.append(f"{where(cell)} has {len(lines)} lines, but may have {MOST_LINES}")
        if "setup" not in tags(cell) and max(map(len, lines)) > MOST_COLUMNS:
            complaints.append(f"{where(cell)} has a line of {max(map(len, lines))} characters, above {MOST_COLUMNS}")
    return complaints


def few_words(chapter: Chapter) -> list[str]:
    """At most 3,500 words of text. A word has a letter in it; HTML and the options of directives are none."""
    text = re.sub(r"</?[a-z][^>]*>|^:.*$", " ", prose(chapter), flags=re.MULTILINE)
    words = len(re.findall(r"\S*[^\W\d_]\S*", text))
    return [] if words <= MOST_WORDS else [f"the text has {words} words, but may have {MOST_WORDS}"]
