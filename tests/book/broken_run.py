"""The example with its files, its run or its outputs broken."""

from __future__ import annotations

from nbformat import NotebookNode
from nbformat.v4 import new_output

from fedlib.data import load
from tests.book import rules_files as files
from tests.book import rules_outputs as outputs
from tests.book.breaking import Broken, shows, sized, stamped, stored, whole, written
from tests.book.chapter import Chapter
from tests.book.example import line

TABLE, FALL = "to_frame", "draw([3, 2, 1])"
ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])
WIDGET = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})
SLOW = {"seconds": 21, "device": "cpu"}


def html(code: str) -> NotebookNode:
    return new_output("execute_result", {"text/html": code})


def real_title() -> Chapter:
    title = load("ml-100k", download=False).catalogue.title[0]
    return shows(TABLE, html(f"<td>{title}"))()


FILES = [
    Broken(
        files.pair_holds_the_same_cells,
        "another text in the .ipynb",
        stored("## An idea", lambda cell: cell.update(source=cell.source + " More.")),
    ),
    Broken(
        files.pair_holds_the_same_cells,
        "another tag in the .ipynb",
        stored(TABLE, lambda cell: cell.metadata.update(tags=["hide-input"])),
    ),
    Broken(
        files.pair_holds_the_same_cells,
        "another alternative text in the .ipynb",
        stored(FALL, lambda cell: cell.metadata.mystnb.image.update(alt="Another line, which falls from 3 to 1.  ")),
    ),
    Broken(
        files.pair_holds_the_same_cells,
        "a cell more in the .ipynb",
        whole(lambda notebook: notebook.cells.append(notebook.cells[0])),
    ),
    Broken(
        files.cells_have_known_options_only,
        "a misspelt tag",
        written("# %%\nrows", '# %% tags=["hide_input"]\nrows'),
    ),
    Broken(
        files.cells_have_known_options_only,
        "an editor's option",
        stored(TABLE, lambda cell: cell.metadata.update(collapsed=True)),
    ),
    Broken(
        files.kernel_is_plain_python,
        "a kernel of one's own",
        whole(lambda notebook: notebook.metadata.kernelspec.update(name="my-env")),
    ),
    Broken(
        files.stamp_says_where_the_outputs_come_from,
        "outputs of the profile smoke",
        stamped(profile="smoke", runs={"smoke": {"seconds": 9, "device": "cpu"}}),
    ),
    Broken(
        files.stamp_says_where_the_outputs_come_from,
        "no versions",
        whole(lambda notebook: notebook.metadata.fedlib.pop("versions")),
    ),
    Broken(
        files.stamp_says_where_the_outputs_come_from,
        "no seconds of the stored run",
        stamped(profile="full"),
    ),
    Broken(
        files.stamp_says_where_the_outputs_come_from,
        "seconds without a device",
        stamped(runs={"smoke": {"seconds": 9}}),
    ),
    Broken(files.outputs_belong_to_these_cells, "outputs of other code", stamped(hashes={"cells": "0"})),
    Broken(files.outputs_belong_to_this_fedlib, "outputs of another fedlib", stamped(hashes={"modules": "0"})),
    Broken(files.outputs_belong_to_this_lock, "outputs of another lock", stamped(hashes={"lock": "0"})),
    Broken(files.outputs_belong_to_this_data, "outputs of other data", stamped(hashes={"data": {"synthetic": "0"}})),
    Broken(
        files.cells_ran_in_order,
        "a cell run twice",
        stored(TABLE, lambda cell: cell.update(execution_count=99)),
    ),
    Broken(
        files.cells_ran_in_order,
        "a cell not run",
        stored(TABLE, lambda cell: cell.update(execution_count=None)),
    ),
    Broken(files.no_cell_failed, "an error", shows(TABLE, ERROR)),
    Broken(files.nothing_on_stderr, "a warning", shows(TABLE, line("UserWarning", "stderr"))),
    Broken(files.runs_are_quick_enough, "21 s in smoke", stamped(runs={"smoke": SLOW})),
    Broken(files.runs_are_quick_enough, "181 s in cpu", stamped(runs={"cpu": SLOW | {"seconds": 181}})),
    Broken(files.runs_are_quick_enough, "1201 s in full", stamped(runs={"full": SLOW | {"seconds": 1201}})),
    Broken(files.file_is_small, "a megabyte", sized(1_000_000)),
]

OUTPUTS = [
    Broken(outputs.outputs_have_no_machine_path, "a path in print", shows(TABLE, line("read /home/ada/ml-100k"))),
    Broken(outputs.outputs_have_no_machine_path, "a path in a table", shows(TABLE, html(r"<td>C:\Users\ada"))),
    Broken(
        outputs.outputs_have_no_photos,
        "a JPEG",
        stored(FALL, lambda cell: cell.outputs[0].update(data={"image/jpeg": "/9j/"})),
    ),
    Broken(
        outputs.outputs_load_nothing,
        "a picture of another host",
        shows(TABLE, html('<img src="https://example.org/cover.png">')),
    ),
    Broken(
        outputs.outputs_load_nothing,
        "a picture inside a table",
        shows(TABLE, html("<img width=9 src='data:image/png;base64,iVBO'>")),
    ),
    Broken(
        outputs.outputs_load_nothing,
        "a script of another host",
        shows(TABLE, html('<script src="//example.org/plot.js"></script>')),
    ),
    Broken(outputs.outputs_need_no_kernel, "a widget", shows(TABLE, WIDGET)),
    Broken(
        outputs.outputs_need_no_kernel,
        "the state of a widget",
        whole(lambda notebook: notebook.metadata.update(widgets={})),
    ),
]

# These need real data.
REAL = [
    Broken(outputs.outputs_have_no_real_titles, "a film's title", real_title),
    Broken(files.outputs_belong_to_this_data, "outputs of another ml-100k", stamped(hashes={"data": {"ml-100k": "0"}})),
]
