"""``fedlib run --select``: which samples a client trains on, and what writes the prototypes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedlib.cli import main
from fedlib.commands.models import SELECTORS
from tests.command_line import RUN, refusal, report
from tests.command_line import here as here

pytestmark = pytest.mark.usefixtures("here")
FEDNCF = [*RUN, "--backbone", "fedncf", "--variant", "fedsllm", "--rounds", "2", "--clients-per-round", "0.1"]
SEMANTIC = ["--items", "semantic", "--encoder", "lsa"]
TENTH = ["--ratio", "0.1", "--select-over", "positives"]
CHANCE = ["--select", "random", *TENTH]
READ = [*SEMANTIC, "--select", "prototypes", *TENTH, "--reading", "intent"]
CLUSTER = [*SEMANTIC, "--select", "cluster", *TENTH]
PROTOTYPES = [*FEDNCF, *READ]


@pytest.mark.parametrize("name", [name for name in SELECTORS if name not in ("prototypes", "cluster")])
def test_a_selector_trains_on_a_share_of_the_samples(name: str) -> None:
    run = report(*FEDNCF, "--select", name, "--ratio", "0.2", "--select-over", "positives")
    assert run["config"]["places"]["select"] == {"name": SELECTORS[name].name, "ratio": 0.2} | {
        key: value for key, value in run["config"]["places"]["select"].items() if key not in ("name", "ratio")
    }
    assert 0 < run["history"][0]["coverage"] < 0.1 and run["config"]["prototypes"] is None


def test_over_both_labels_the_run_says_how_many_of_the_kept_are_positives() -> None:
    chosen = ["--select", "random", "--ratio", "0.2", "--select-over", "samples"]
    free, bound = (report(*FEDNCF, *chosen, *more) for more in ([], ["--positive-share", "0.5"]))
    assert free["config"]["places"]["select"]["over"] == "samples"
    shares = [run["history"][-1]["positives kept"] for run in (free, bound)]
    assert abs(shares[0] - 0.2) < 0.05 and abs(shares[1] - 0.5) < 0.02


@pytest.mark.parametrize(
    ("llm", "source"), [("recorded", "recorded: Claude (Anthropic), 2026-11-28"), ("keyword", "keyword")]
)
def test_prototypes_say_who_wrote_them(llm: str, source: str) -> None:
    run = report(*PROTOTYPES, "--llm", llm)
    assert run["config"]["prototypes"] == source
    assert any(row["tensor"] == "select/prototypes" and row["direction"] == "down" for row in run["ledger"])
    assert not any(row["tensor"].startswith("select/") for row in run["ledger"] if row["direction"] == "up")


def test_updated_clusters_send_counts() -> None:
    cluster = [*CLUSTER[4:], "--reading", "hard_min", "--update-every", "1", "--sampled"]
    run = report(*FEDNCF, *SEMANTIC, *cluster, "--n-prototypes", "6")
    sent = {row["tensor"]: row["shape"] for row in run["ledger"] if row["direction"] == "up"}
    assert sent["select/counts"] == "(6,)" and run["config"]["prototypes"] == "cluster"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--ratio", "0.1"], "--ratio is for --select random, entropy"),
        (["--select", "random"], "needs --ratio"),
        (["--select", "random", "--ratio", "0.1"], "needs --select-over positives or samples"),
        (["--select-over", "samples"], "--select-over is for --select random, entropy"),
        (["--select", "hard-margin", "--ratio", "0.1", "--select-over", "samples"], "needs --select-over positives"),
        ([*CHANCE, "--positive-share", "0.5"], "needs --select-over samples"),
        (["--select", "fale", *TENTH, "--positive-share", "0.5"], "is for --select random"),
        ([*CHANCE, "--reading", "intent"], "is for --select prototypes, cluster"),
        (["--select", "random", "--ratio", "1.5"], "not a factor"),
        (["--select", "cluster", *TENTH, "--reading", "intent"], "add --items semantic"),
        (CLUSTER, "needs --reading"),
        ([*CLUSTER, "--reading", "intent", "--llm", "keyword"], "--llm is for --select prototypes"),
        (READ, "needs --llm"),
        ([*READ, "--llm", "http://x/v1"], "#MODEL"),
        ([*READ, "--llm", "keyword", "--prototypes", "f.json"], "--prototypes is for --llm recorded"),
        (["--select", "oldest", *TENTH], "'oldest' is not one of none, random"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert told in refusal(capsys, [*FEDNCF, *arguments, "--out", "out.json"])


def test_a_prompt_without_a_recorded_answer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("none.json").write_text("[]", encoding="utf-8")
    assert main([*PROTOTYPES, "--llm", "recorded", "--prototypes", "none.json", "--out", "out.json"]) == 2
    assert "has no answer to this generate prompt" in capsys.readouterr().err
