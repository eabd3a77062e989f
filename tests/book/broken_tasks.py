"""The example with its exercises or its questions broken."""

from __future__ import annotations

from tests.book import rules_exercises as exercises
from tests.book import rules_questions as questions
from tests.book.breaking import Broken, stored, without, written
from tests.book.example import line, text


def between(start: str, end: str) -> str:
    """A part of the example's text."""
    _, found, after = text().partition(start)
    return found + after[: after.index(end)]


HINT = between('# <details class="hint">', "\n\n# %%")
ENTRY_3, QUIZ_5 = between("# **3.** What", "# %%"), between("# **5.** Is the sky", "# ## Summary")
WET = between('# <details class="option"><summary>no</summary>', "# **3.** Is fire")

EXERCISES = [
    Broken(exercises.exercises_have_three_levels, "another level", written("★★ Build", "★★ Make")),
    Broken(exercises.exercises_have_three_levels, "two of one level", written("★★★ Research: four", "★★ Build: four")),
    Broken(exercises.exercises_have_all_their_parts, "no hint", without(HINT)),
    Broken(
        exercises.exercises_have_all_their_parts,
        "a hint that opens nothing",
        written("# </details>\n\n# %% tags", "#\n\n# %% tags"),
    ),
    Broken(exercises.exercises_have_all_their_parts, "an untagged stub", written('# %% tags=["exercise"]', "# %%")),
    Broken(
        exercises.exercises_have_all_their_parts,
        "the label of another solution",
        written(":label: sol-example-twice", ":label: sol-example-double"),
    ),
    Broken(
        exercises.exercises_have_all_their_parts,
        "the solution of another exercise",
        written("{solution-start} ex-example-thrice", "{solution-start} ex-example-twice"),
    ),
    Broken(exercises.exercises_have_all_their_parts, "a solution without end", without("# :::{solution-end}\n# :::\n")),
    Broken(
        exercises.exercise_cells_belong_to_exercises,
        "a solution outside of exercises",
        written("# %%\nrows", '# %% tags=["solution"]\nrows'),
    ),
    Broken(
        exercises.solutions_fill_in_their_stubs,
        "another line in the solution",
        written("def twice(x):\n    y = x", "def double(x):\n    y = x"),
    ),
    Broken(
        exercises.solutions_fill_in_their_stubs,
        "a line more in the solution",
        written("def twice(x):\n    y = x", "x = 2\n\n\ndef twice(x):\n    y = x"),
    ),
    Broken(
        exercises.solutions_fill_in_their_stubs,
        "nothing to write in the stub",
        written("return None  # your code", "return None"),
    ),
    Broken(
        exercises.exercises_end_in_a_check,
        "a print in place of a check",
        written('book.check(cost, "nothing")', "print(cost)", count=-1),
    ),
    Broken(
        exercises.stubs_say_not_done_yet,
        "a silent stub",
        stored("return None  # your code", lambda cell: cell.outputs.clear()),
    ),
    Broken(
        exercises.solutions_are_right,
        "a wrong solution",
        stored("y = x", lambda cell: cell.update(outputs=[line("yours 3, expected 4: not yet")])),
    ),
    Broken(exercises.solutions_are_right, "a silent solution", stored("y = x", lambda cell: cell.outputs.clear())),
]

QUESTIONS = [
    Broken(questions.entry_check_has_three_questions, "two questions", without(ENTRY_3)),
    Broken(questions.quiz_has_five_to_eight_questions, "four questions", without(QUIZ_5)),
    Broken(questions.questions_are_numbered, "a number left out", written("**5.** Is the sky", "**6.** Is the sky")),
    Broken(
        questions.options_have_the_form,
        "no empty line",
        written("</summary>\n#\n# **No.** That is one too many.", "</summary>\n# **No.** That is one too many."),
    ),
    Broken(
        questions.options_have_the_form,
        "another verdict",
        written("**No.** That is one too many.", "**Wrong.** That is one too many."),
    ),
    Broken(
        questions.options_have_the_form,
        "an option that does not end",
        written("one too many.\n#\n# </details>", "one too many.\n#\n"),
    ),
    Broken(
        questions.questions_have_one_right_option_of_two_to_four,
        "two right options",
        written("**No.** That is one too many.", "**Right.** That is one too many."),
    ),
    Broken(
        questions.questions_have_one_right_option_of_two_to_four,
        "no right option",
        written("**Right.** It is frozen water.", "**No.** It is frozen water."),
    ),
    Broken(questions.questions_have_one_right_option_of_two_to_four, "one option", without(WET)),
    Broken(questions.questions_have_one_right_option_of_two_to_four, "five options", written(WET, WET * 4)),
    Broken(questions.options_are_explained, "a single word", written("That is one too many.", "Wrong.")),
    Broken(questions.options_are_explained, "no full stop", written("That is one too many.", "That is one too many")),
    Broken(questions.options_need_no_markdown, "maths", written("<summary>4<", "<summary>$4$<")),
    Broken(questions.options_need_no_markdown, "a code span", written("<summary>4<", "<summary>`4`<")),
    Broken(
        questions.quiz_reads_a_figure,
        "a quiz without a figure",
        written("What does {numref}`fig-example-fall` show?", "What does the second figure show?"),
    ),
    Broken(
        questions.blocks_that_open_are_options_or_hints,
        "a block of another class",
        written("# It breaks.", "# <details><summary>More</summary>\n#\n# It breaks.\n#\n# </details>"),
    ),
]
