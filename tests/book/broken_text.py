"""The example with its parts, its figures or its numbers broken."""

from __future__ import annotations

from nbformat.v4 import new_output

from tests.book import rules_anatomy as anatomy
from tests.book import rules_figures as figures
from tests.book import rules_numbers as numbers
from tests.book.breaking import Broken, shows, stored, without, written
from tests.book.chapter import Chapter
from tests.book.example import example, line, text

TABLE, FALL, PLOT = "to_frame", "draw([3, 2, 1])", "color=plots.COLOURS[0]"
PICTURE = new_output("display_data", {"image/png": "iVBORw0KGgo="})
PROMISE = "This chapter keeps every rule, so that a test can break one at a time."
ALT = "A line that falls from 3 at the left to 1 at the right, in equal steps."
CAPTION = '"caption": "Fewer rounds do not.", '
STORY = next(header for header in text().splitlines() if "fig-example-story" in header)


def swapped() -> Chapter:
    """Two sections have changed names."""
    one, other = "## Break it", "## Paper beside ours"
    return example(text().replace(one, "## ?").replace(other, one).replace("## ?", other))


ANATOMY = [
    Broken(anatomy.begins_with_title_and_promise, "no promise", without(f"#\n# {PROMISE}\n")),
    Broken(anatomy.begins_with_title_and_promise, "four sentences", written(PROMISE, "One. Two. Three. Four.")),
    Broken(
        anatomy.setup_cell_is_the_generated_one,
        "a set-up cell edited by hand",
        written("PROFILE = book.start()", "PROFILE = book.start()  # quick"),
    ),
    Broken(
        anatomy.setup_cell_is_the_generated_one,
        "a set-up cell in full view",
        written('tags=["setup", "hide-input"]', 'tags=["setup"]'),
    ),
    Broken(anatomy.setup_cell_is_the_generated_one, "a set-up cell without form view", without('cellView="form" ')),
    Broken(
        anatomy.setup_cell_is_the_generated_one,
        "a text before the set-up cell",
        written("# %% cellView", "# %% [markdown]\n# A word before.\n\n# %% cellView"),
        also=(anatomy.story_figure_stands_before_the_glance,),
    ),
    Broken(anatomy.story_figure_stands_before_the_glance, "no story figure", written(STORY, "# %%")),
    Broken(
        anatomy.at_a_glance_has_its_items,
        "no item Data",
        without("# - **Data** made up, so there is no licence.\n"),
    ),
    Broken(
        anatomy.at_a_glance_has_its_items,
        "a typed time",
        written("# - **Sources**", "# - **Time** an hour.\n# - **Sources**"),
    ),
    Broken(anatomy.at_a_glance_has_its_items, "another class", written("# :class: tip", "# :class: note")),
    Broken(anatomy.sections_are_there_in_order, "a section is missing", written("## Break it", "### Break it")),
    Broken(anatomy.sections_are_there_in_order, "two sections in another order", swapped),
    Broken(anatomy.readers_predict_three_times, "two predictions", written("Predict, then run", "Guess")),
    Broken(anatomy.results_stand_beside_baselines, "no baselines", stored(TABLE, lambda cell: cell.outputs.clear())),
    Broken(anatomy.protocol_stands_under_the_results, "no word on ties", without("equal scores count half, ")),
    Broken(anatomy.summary_has_five_bullets, "four bullets", without("# - Five.\n")),
    Broken(anatomy.summary_has_five_bullets, "nothing next", without("# **What next?** Write a real one.\n")),
    Broken(
        anatomy.further_reading_is_cited,
        "reading without a citation",
        written("{cite:t}`mcmahan2017` is short.", "There is a paper."),
    ),
    Broken(anatomy.few_code_cells, "46 code cells", lambda: example(text() + "\n# %%\npass\n" * 46)),
    Broken(anatomy.short_code_cells, "26 lines", written("rows = {", "pass\n" * 24 + "rows = {")),
    Broken(anatomy.short_code_cells, "79 columns", written("rows = {", f"# {'x' * 77}\nrows = {{")),
    Broken(anatomy.few_words, "3,500 words more", written("It breaks.", "It breaks. " + "Word " * 3500)),
]

FIGURES = [
    Broken(figures.figures_are_described, "no alternative text", without(f'"alt": "{ALT}"')),
    Broken(figures.figures_are_described, "no caption", without(CAPTION)),
    Broken(figures.figures_are_described, "a picture under a table", shows(TABLE, PICTURE)),
    Broken(figures.alternative_texts_describe, "a short one", written(ALT, "A line that falls.")),
    Broken(figures.alternative_texts_describe, "the caption again", written(CAPTION, f'"caption": "{ALT}", ')),
    Broken(figures.alternative_texts_describe, "a file's name", written(ALT, f"{ALT} See fall.png.")),
    Broken(figures.figure_cells_show_one_figure, "a text beside a figure", shows(FALL, line("done"))),
    Broken(figures.figure_cells_show_one_figure, "two figures", shows(FALL, PICTURE)),
    Broken(figures.figure_cells_show_one_figure, "no figure", stored(FALL, lambda cell: cell.outputs.clear())),
    Broken(
        figures.figures_are_referred_to,
        "a figure nobody mentions",
        written("`fig-example-fall`", "`fig-example-story`", count=-1),
    ),
    Broken(figures.colours_come_from_the_palette, "a colour's name", written(PLOT, 'color="red"')),
    Broken(figures.colours_come_from_the_palette, "a colour's code", written(PLOT, 'label="#d00000"')),
    Broken(figures.colours_come_from_the_palette, "a shade of grey", written(PLOT, 'color="0.5"')),
    Broken(figures.colours_come_from_the_palette, "a colour in a dictionary", written(PLOT, '**{"mfc": "white"}')),
    Broken(
        figures.colours_come_from_the_palette,
        "one colour or another",
        written(PLOT, 'color="white" if values else plots.INK'),
    ),
]

NUMBERS = [
    Broken(numbers.quoted_numbers_are_stored, "a number nobody stores", without('book.glue("rounds", 3)\n')),
    Broken(
        numbers.stored_numbers_are_quoted,
        "a number nobody quotes",
        written('book.glue("rounds", 3)', 'book.glue("rounds", 3)\nbook.glue("left_over", 1)'),
    ),
    Broken(numbers.no_number_is_typed, "two decimals", written("It breaks.", "It breaks at 0.57.")),
    Broken(numbers.no_number_is_typed, "no zero", written("It breaks.", "It breaks at .57, or so.")),
    Broken(numbers.no_number_is_typed, "a percentage", written("It breaks.", "It breaks for 12.5 % of all.")),
    Broken(numbers.no_number_is_typed, "a table", written("# It breaks.", "# | a |\n# |---|\n# | 0.125 |")),
    Broken(
        numbers.no_fact_of_the_run_is_quoted,
        "the seconds",
        lambda: example(text().replace('"rounds"', '"seconds"').replace("`rounds`", "`seconds`")),
    ),
    Broken(
        numbers.no_cell_needs_mystnb,
        "an import of myst_nb",
        written("import pandas as pd", "import pandas as pd\nfrom myst_nb import glue"),
    ),
]
