# %% [markdown]
# # Cost, faults and fairness: who pays, who fails, who is served worse
#
# A mean over users hides three things: what it cost them, what happens when some of them fail or lie, and who among them
# is below it. This chapter takes the mean apart.

# %% cellView="form" tags=["setup", "hide-input"]
# @title Set-up: run this cell first
import importlib.util

if importlib.util.find_spec("fedlib") is None:
    raise ModuleNotFoundError("fedlib is missing: pip install it from a copy of its repository")

from fedlib import book

PROFILE = book.start()

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd

from fedlib.book import plots
from fedlib.reproduce import per_user, read_rows

stored = read_rows("faults", "ml-100k")
RULES = ("mean", "median", "trimmed", "norm", "krum")
WORDS = {"mean": "mean", "median": "median", "trimmed": "trimmed mean",
         "norm": "norm bound", "krum": "Krum"}  # fmt: skip


def of(cell):
    return [r for r in stored if r["cell"] == cell]


cells = [r["cell"] for r in stored if "/" in r["cell"]]
CONDITIONS = list(dict.fromkeys(cell.split("/")[0] for cell in cells))


# %% tags=["remove-cell"]
def mean_of(cell, value=lambda r: r["metrics"]["HR@10"]):
    return np.mean([value(r) for r in of(cell)])


hr = pd.DataFrame(index=CONDITIONS)
for rule in RULES:
    hr[WORDS[rule]] = [mean_of(f"{c}/{rule}") for c in CONDITIONS]
flat = {name: mean_of(name) for name in ("random", "popularity")}
behind = hr.max(axis=1) - hr["mean"]
lost = behind.index[behind > 0.1]
assert [*lost] == ["sign-flip", "scale", "all three"]  # as the caption says

# %% tags=["hide-input"] mystnb={"image": {"alt": "Eight conditions one below the other, from clean to all three troubles at once, each with five markers on a scale of HR@10: mean, median, trimmed mean, norm bound and Krum. Under clean conditions the mean is the best; under sign flips and scaled updates it falls far to the left while all others but Krum hold; under promotion and exchanged labels it stays beside the best, and Krum falls. Dashed vertical lines mark random and popularity."}, "figure": {"caption": "What five ways to combine updates make of failing and hostile clients (FedMF, MovieLens 100K, a tenth of the clients a round). Without liars no rule beats the mean. Two of the four lies ruin it, sign flips and scaled updates; under the other two, promotion and exchanged labels, no rule does much better than it.", "name": "fig-ch17-story"}}
ax = plots.axes("HR@10", "", 7.5, 4.4)
for number, rule in enumerate(WORDS.values()):
    look = {"color": plots.COLOURS[number], "marker": plots.MARKERS[number]}
    places = np.arange(len(CONDITIONS)) + 0.1 * (number - 2)
    ax.plot(hr[rule], places, linestyle="", label=rule, **look)
for name, value in flat.items():
    ax.axvline(value, color=plots.FAINT, linestyle="--", marker="")
    ax.annotate(f" {name}", (value, -0.6), color=plots.FAINT)
ax.set(yticks=range(len(CONDITIONS)), yticklabels=CONDITIONS, xlim=(0, 0.72),
       ylim=(len(CONDITIONS) - 0.5, -1))  # fmt: skip
_ = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

# %% [markdown]
# :::{admonition} At a glance
# :class: tip
# - **You will** write three bills for a model, let clients fail, break and lie, combine their updates by four robust rules
#   of your own, and split a leaderboard's mean into groups of users and of films.
# - **You need** the loop of [chapter 3](03_federated_loop.ipynb), the leaderboard of [chapter 9](09_leaderboard.ipynb),
#   and the secure sum of [chapter 16](16_privacy.ipynb).
# - **Data** MovieLens 100K {cite}`harper2015movielens`, for research use and not redistributed here, mostly as finished
#   rows; the made-up shop `synthetic` for what runs live.
# - **Sources** median and trimmed mean {cite}`yin2018byzantine`; norm bound {cite}`sun2019backdoor`; Krum
#   {cite}`blanchard2017krum`; FedSLLM {cite}`fedsllm`, Table 5; groups of users after {cite:t}`ekstrand2018`.
# :::
#
# ## Entry check
#
# **1.** A server takes the mean of 99 numbers near 1 and one number chosen by an enemy. How far can the enemy move it?
#
# <details class="option"><summary>by about a hundredth</summary>
#
# **No.** That is its share of the weight. The number itself may be anything.
#
# </details>
# <details class="option"><summary>as far as it likes</summary>
#
# **Right.** One number without a bound moves a mean without a bound.
#
# </details>
# <details class="option"><summary>not at all</summary>
#
# **No.** That is nearly so for the median.
#
# </details>
#
# **2.** What does the server need in order to take a median over clients?
#
# <details class="option"><summary>the sum of the updates</summary>
#
# **No.** A sum does not say what it is a sum of.
#
# </details>
# <details class="option"><summary>every update by itself</summary>
#
# **Right.** So it excludes the secure sum of the last chapter.
#
# </details>
# <details class="option"><summary>the clients' data</summary>
#
# **No.** Updates are enough.
#
# </details>
#
# **3.** Method A has a higher HR@10 than B. What follows for a given user?
#
# <details class="option"><summary>A is better for that user</summary>
#
# **No.** A mean can rise while some fall.
#
# </details>
# <details class="option"><summary>A is at least not worse</summary>
#
# **No.** Nothing forbids it to be.
#
# </details>
# <details class="option"><summary>nothing yet</summary>
#
# **Right.** One has to look at users, or at groups of them.
#
# </details>

# %%
import math

import torch

from fedlib import Faults, FedMF, FedNCF, LocalTraining, federate, load, rng
from fedlib import backbones as models
from fedlib.book import glue
from fedlib.evaluation.flops import multiply_adds
from fedlib.evaluation.stats import mean_and_spread, paired_bootstrap
from fedlib.protect.robust import RobustAggregation

# %% [markdown]
# ## Three bills
#
# Bytes, multiplications and seconds are three currencies without a fixed rate of exchange. The bytes are the ledger's. A
# forward pass of a dense layer from $a$ to $b$ numbers is $ab$ multiplications, each with an addition; the backward pass
# has two such products, so a training sample costs about three times its score:
#
# $$
# \text{cost of a round} \approx 3 \cdot (1 + c)\,|I_u| \cdot \sum_{\text{layers}} a_l\, b_l ,
# $$ (eq-ch17-cost)
#
# with $c$ drawn items for each of the $|I_u|$ own ones.
#
# :::{admonition} Predict, then run
# :class: important
# The widest FedNCF of the leaderboard has a tower from 128 to 64 to 32 to 16 numbers, 64 products of pairs beside it, and
# one output over both. How many multiplications is a score? FedMF needs 32. By what factor will FedNCF be slower?
# :::

# %%
tower = 128 * 64 + 64 * 32 + 32 * 16
by_hand = tower + 64 + (16 + 64)
FORMS = {
    "fedmf": FedMF(), "fcf": models.FCF(), "fedavg": models.FedAvg(),
    "pfedrec": models.PFedRec(), "fedrap": models.FedRAP(),
    "fedpergnn": models.FedPerGNN(), "fedncf": FedNCF(),
    "fedneumf": FedNCF(dim=64, hidden=(64, 32, 16), gmf=64),
}  # fmt: skip
assert by_hand == multiply_adds(FORMS["fedneumf"])
SETTING = "loo99/unobserved"
board_rows = [r for r in read_rows("leaderboard", "ml-100k")
              if r["cell"].startswith(SETTING)]  # fmt: skip
bills = {}
for name, form in FORMS.items():
    runs = [r for r in board_rows if r["cell"] == f"{SETTING}/{name}"]
    sent = runs[0]["bytes"]
    bills[name] = {
        "KB up and down": (sent["up"] + sent["down"]) / 1000,
        "multiplications a score": multiply_adds(form),
        "CPU seconds": min(r["seconds"]["cpu"] for r in runs),
        "HR@10": np.mean([r["metrics"]["HR@10"] for r in runs]),
    }
bills = pd.DataFrame(bills).T
bills.round(3)

# %% tags=["remove-cell"]
small, large = bills.loc["fedmf"], bills.loc["fedneumf"]
times = large / small
glue("ch17-mults", float(times["multiplications a score"]))
glue("ch17-times", float(times["CPU seconds"]))
ordered = bills["multiplications a score"], bills["CPU seconds"]
glue("ch17-tau", float(ordered[0].corr(ordered[1], method="kendall")))
glue("ch17-small", float(small["HR@10"]))
glue("ch17-large", float(large["HR@10"]))
glue("ch17-rap", float(bills.loc["fedrap", "HR@10"]))
glue("ch17-chance", float(flat["random"]))

# %% [markdown]
# The widest FedNCF does {glue:text}`ch17-mults:.0f` times FedMF's multiplications and takes {glue:text}`ch17-times:.0f`
# times its seconds. Over all eight the two orders agree in part, with a correlation (Kendall's) of
# {glue:text}`ch17-tau:.2f`: FedRAP multiplies as little as FedMF and takes twice as long. Multiplications are cheap; what a
# small model spends its time on is fetching rows. A table of FLOPs says how a method grows, not how long it takes. Nor
# does any bill predict the last column: {glue:text}`ch17-small:.3f` for the cheapest, {glue:text}`ch17-large:.3f` for the
# dearest. FedRAP's {glue:text}`ch17-rap:.3f`, where chance is {glue:text}`ch17-chance:.3f`, is no slip: with these
# negatives it learns its own samples by heart and little else ([chapter 7](07_personal_items.ipynb)). FedNGCF is not in
# the list: it scores a whole graph at once, and what one sample costs depends on the graph.
#
# ## Five clients by hand
#
# Five readers send their updates of six books' scores. Eve wants book F on everybody's list.

# %%
NAMES = ["Ada", "Ben", "Cem", "Dora", "Eve"]
SENT = torch.tensor(
    [
        [2.0, 1.0, 0.0, -1.0, 1.0, -1.0],
        [1.0, 1.0, -1.0, 0.0, 1.0, -2.0],
        [2.0, 0.0, 0.0, -1.0, 2.0, -1.0],
        [1.0, 2.0, 1.0, -1.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 90.0],
    ]
)

# %% [markdown]
# Four answers. With $\Delta_{kj}$ client $k$'s number at coordinate $j$:
#
# - **Median** {cite}`yin2018byzantine`: $\mathrm{med}_k\, \Delta_{kj}$ in each coordinate.
# - **Trimmed mean**: without the $\lfloor \beta K \rfloor$ smallest and as many largest.
# - **Norm bound** {cite}`sun2019backdoor`: a mean of updates that are scaled down to a norm $M$ where they are longer. The
#   paper leaves $M$ to the server; here it is the median norm of the round, so that a minority cannot set it,
#
# $$
# \frac1K \sum_k \Delta_k \min\big(1, M / \lVert \Delta_k \rVert\big) ,
# \qquad M = \mathrm{med}_k\, \lVert \Delta_k \rVert ,
# $$ (eq-ch17-norm)
#
# - **Krum** {cite}`blanchard2017krum`: the one update that is closest to its neighbours. With $N_k$ the $K - f - 2$ others
#   nearest to $k$, where $f$ clients may lie, it is the one with the smallest
#
# $$
# s_k = \sum_{j \in N_k} \lVert \Delta_k - \Delta_j \rVert^2 .
# $$ (eq-ch17-krum)
#
# :::{admonition} Predict, then run
# :class: important
# What does each rule say of book F? And which of them still gives Eve a little of what she wants?
# :::


# %%
def median(updates):
    return updates.quantile(0.5, dim=0)


def trimmed(updates, share):
    cut = int(share * len(updates))
    return updates.sort(dim=0).values[cut : len(updates) - cut].mean(0)


def norm_bounded(updates):
    norms = updates.norm(dim=1)
    factor = (norms.quantile(0.5) / norms).clamp(max=1)
    return (factor[:, None] * updates).mean(0)


def krum(updates, f):
    distance = torch.cdist(updates, updates).square()
    nearest = distance.sort(dim=1).values[:, 1 : len(updates) - f - 1]
    return updates[nearest.sum(1).argmin()]


# %%
answers = {
    "mean": SENT.mean(0),
    "median": median(SENT),
    "trimmed mean": trimmed(SENT, 0.2),
    "norm bound": norm_bounded(SENT),
    "Krum": krum(SENT, f=1),
}
pd.DataFrame(answers, index=list("ABCDEF")).T.round(2)

# %% [markdown]
# The mean sends F to the top. Median and trimmed mean let Eve be one voice among five, the norm bound lets her have her
# direction at everybody's strength, and Krum takes Ada or one of her like at her word and ignores all others: that is
# what it will pay for below.
#
# ## Clients that fail
#
# Phones lose their network, run out of battery, and are updated to a version with a bug. `Faults` draws who is affected
# anew in each round, but for the hostile, who are the same all along.

# %%
shop = load("synthetic").leave_one_out(seed=0)
LOCAL = LocalTraining(lr=1.0, lr_items=200.0, negatives_from="unobserved")


def train(faults=None, rule=None, rounds=30, seed=0):
    return federate(
        shop, FedMF(16), local=LOCAL, rounds=rounds, evaluate_every=rounds,
        device="cpu", faults=faults, seed=seed,
        protect=rule and RobustAggregation(rule=rule, share=0.3),
    )  # fmt: skip


trouble = Faults(before=0.2, during=0.05, after=0.05, broken=0.05, deadline=2)
failing = train(trouble, rounds=3)
shown = ["round", "clients", "lost before", "lost during", "lost after"]
print(failing.history["reasons"][0].replace(". ", ".\n"))
failing.history[[*shown, "late", "refused"]]

# %% [markdown]
# A client lost *before* or *during* its training leaves no trace; one whose upload is lost *after* it has kept its new
# private vector, and the next round it starts from there. The server refuses what is no number, or of the wrong shape, and
# says why. It has to: one NaN among the terms makes the sum NaN, in every coordinate it touches and for everybody.

# %%
poisoned = SENT.clone()
poisoned[2, 0] = math.nan
rules = {"mean": poisoned.mean(0), "median": median(poisoned)}
pd.DataFrame(rules, index=list("ABCDEF")).T

# %% [markdown]
# PyTorch's quantile hands the NaN on, so our median is no help. Only a check of each upload, before anything is added,
# keeps the broken ones out. (The package's median counts a NaN as very large.)
#
# Do drop-outs bias the model? Not if everybody is equally likely to drop out: then a round is a smaller sample of the same
# people. A *deadline* is another matter. Slow devices and long histories miss it in every round, and whoever misses it in every round has no say.

# %%
late = Faults(deadline=2.0, spread=0.5)
kept = train(late, rounds=3)
length = shop.train.counts * 5  # samples
slow = torch.exp(0.5 * rng.normal(rng.key(0, "device"), torch.arange(200)))
silent = 0.01 * length * slow > 2.0
assert int(silent.sum()) == kept.history["late"].iloc[0]
names = ["short", "middle", "long"]
thirds = pd.qcut(shop.train.counts.numpy(), 3, labels=names)
share = pd.Series(silent.float().numpy())
share = share.groupby(thirds, observed=True).mean()
share.to_frame("share that is never heard").round(2)

# %% [markdown]
# ## Clients that lie
#
# Four attacks come with the package: the update's opposite (*sign flip*), a multiple of it (*scale*), training with likes
# and dislikes exchanged (*label flip*), and *promotion*: the row of one item, and no other, is moved to where popular items
# are. The last is what an author with a few hundred phones would do. A server that only looks at HR@10 does not notice.

# %%
from fedlib.evaluation.rankings import exposure

TARGET = int(shop.train.items.bincount(minlength=300).argmin())
rows = []
for name, hostile, rule in (
    ("mean, nobody lies", 0.0, None),
    ("mean, a fifth promotes", 0.2, None),
    ("median, nobody lies", 0.0, "median"),
    ("median, a fifth promotes", 0.2, "median"),
):
    lie = Faults(hostile=hostile, attack="promote", target=TARGET)
    end = train(lie, rule)
    shown = exposure(end.state, end.backbone, end.data, k=10)
    rows.append({"": name, "HR@10": end.metrics["HR@10"],
                 "users shown the target": int(shown[TARGET])})  # fmt: skip
glue("ch17-live", rows[-1]["users shown the target"])
assert rows[-1]["users shown the target"] > 100
pd.DataFrame(rows).set_index("").round(3)

# %% [markdown]
# At the same learning rates the mean withstands a promotion of this strength in the made-up shop, and under the median
# {glue:text}`ch17-live` of 200 readers are shown a book that three have chosen. The protection did that: the section after
# next says how.
#
# ## What leaves the device?
#
# With a robust rule, what left it before: every update, in plain sight of the server. Robustness and the secrecy of
# [chapter 16](16_privacy.ipynb) want opposite things, and in `fedlib` they stand in one place of the loop, so that a run has
# one or the other.

# %%
from fedlib import SecureAggregation, UserLevelDP

PLACES = {
    "mean": None,
    "a robust rule": RobustAggregation(rule="median"),
    "user-level DP": UserLevelDP(clip=3.0, epsilon=8.0),
    "secure sum": SecureAggregation(clip=64.0, exact=True),
}
SEES = {
    "mean": ("each update", "no"),
    "a robust rule": ("each update", "up to a share of them"),
    "user-level DP": ("each update", "by its norm bound"),
    "secure sum": ("the sum", "no"),
}  # fmt: skip
rows = {}
for name, place in PLACES.items():
    how = {"local": LOCAL, "rounds": 1, "device": "cpu"}
    one = federate(shop, FedMF(16), protect=place, **how)
    up = one.ledger.query("direction == 'up'")
    rows[name] = {
        "KB up": up["bytes_per_client"].sum() / 1000,
        "the server sees": SEES[name][0], "withstands a liar": SEES[name][1],
    }  # fmt: skip
pd.DataFrame(rows).T

# %% [markdown]
# User-level DP asks clients to clip, and a liar does not. This server sees each upload, so it clips once more what is too
# long: honest updates pass unchanged, and a liar has no more than one client's say. Under the secure sum a client can clip
# its own update to a norm, and prove nothing. Proofs that a hidden vector is short exist, and cost far more than the sum;
# they are not in this book. The bytes are the same for all rules: a robust server asks for nothing more, it only looks
# closer. Attacks of chapter 5 work on each of these updates as before.
#
# ## From the blank cell to the package

# %%
from fedlib.protect import robust
from fedlib.server.sums import dense_rows

draw = rng.normal(rng.key(0, "stack"), torch.arange(31)[:, None],
                  torch.arange(40))  # fmt: skip
pairs = {
    "median": (median(draw), robust.coordinate_median(draw)),
    "trimmed": (trimmed(draw, 0.2), robust.trimmed_mean(draw, 0.2)),
    "norm": (norm_bounded(draw), robust.norm_bound(draw)),
    "krum": (krum(draw, 6), robust.krum(draw, 6)),
}
for name, (ours, theirs) in pairs.items():
    torch.testing.assert_close(ours, theirs)
    print(f"{name}: largest difference {(ours - theirs).abs().max():.0e}")

# %% [markdown]
# One thing the package's rules know and ours do not. Most clients touch few items, so most rows they send are zero, and a
# median over *all* clients is zero for every item that less than half of them touched: nothing is ever learned.
# `RobustAggregation(touched=True)` decides each row among those that touched it. The price: a row is decided by whoever
# touches it in a round, and a client touches not only what it chose but also what it drew as a counterexample. A place that
# changes nothing can count them, for the target above and for that of the experiment below.

# %%
from fedlib import Place

touches = []


class Watch(Place):
    def client(self, work, message):
        here = ((work.ids == watched) & work.real).any(1)
        whose = zip(work.clients.tolist(), here.tolist(), strict=True)
        touches.extend((work.round, *pair) for pair in whose)
        return {}


CASES = {"made-up shop": (shop, TARGET, 30, 1.0)}
if PROFILE != "smoke":
    films = load("ml-100k").leave_one_out(seed=0)
    CASES["MovieLens 100K"] = (films, 1500, 100, 0.1)

# %%
counted = {}
for place, (split, watched, rounds, part) in CASES.items():
    touches.clear()
    federate(split, FedMF(2), local=LOCAL, rounds=rounds, protect=Watch(),
             clients_per_round=part, evaluate_every=rounds,
             device="cpu")  # fmt: skip
    told = pd.DataFrame(touches, columns=["round", "client", "touched"])
    who = torch.tensor(told["client"].to_list())
    lies = Faults(hostile=0.2).liars(0, who).numpy()
    raters = split.train.users[split.train.items == watched]
    chose = torch.isin(who, raters).numpy()
    honest = told["touched"] & ~lies
    kinds = pd.DataFrame({
        "liars": lies, "honest, chose it": honest & chose,
        "honest, drew it": honest & ~chose,
    }).groupby(told["round"]).sum()  # fmt: skip
    most = kinds["liars"] > kinds.iloc[:, 1:].sum(axis=1)
    counted[place] = {**kinds.mean(), "liars are most": most.mean()}
counted = pd.DataFrame(counted).T
counted.round(2)

# %% tags=["remove-cell"]
here, there = counted.iloc[0], counted.iloc[-1]
glue("ch17-liars", float(here["liars"]))
glue("ch17-choose", float(here["honest, chose it"]))
glue("ch17-draw", float(here["honest, drew it"]))
glue("ch17-most-there", float(there["liars are most"]))
glue("ch17-liars-there", float(there["liars"]))
glue("ch17-honest-there", float(there.iloc[1:3].sum()))

# %% [markdown]
# These are means over the rounds of one seed, and shares of rounds in the last column. A fifth of the shop, by this draw
# {glue:text}`ch17-liars:.0f` liars, all send the target's row. Of the honest readers {glue:text}`ch17-choose:.0f` have chosen the book and
# {glue:text}`ch17-draw:.0f` have drawn it: about half of those who decide are liars. Where liars are most,
# the median is theirs. Where they are nearly half and stand together at one end, the middle of all values is one of the
# outermost *honest* ones on their side, in each coordinate. A median promises no more than to stay among the honest
# values; their edge, always on the same side, is a step that adds up round after round.
#
# ## Experiment
#
# FedMF on MovieLens 100K, a tenth of the clients in each of 100 rounds, eight conditions, five rules. Each rule has the
# rates that are best on validation items *while nothing goes wrong*. A fifth of all clients are hostile; the rules reckon
# with three in ten.

# %%
alone = [r for r in board_rows if r["cell"] == f"{SETTING}/local-only"]


def users(found, metric="HR@10"):
    return np.mean([per_user(r, metric) for r in found], axis=0)


board = hr.map("{:.3f}".format)
beside = {name: of(name) for name in flat} | {"local-only": alone}
for name, found in beside.items():
    value = np.mean([r["metrics"]["HR@10"] for r in found])
    board.loc[name] = [f"{value:.3f}", *[""] * (len(RULES) - 1)]
runs = of("clean/mean")
spread = mean_and_spread([r["metrics"]["HR@10"] for r in runs])[1]
print("HR@10 on MovieLens 100K, leave-one-out, 99 rivals, K = 10, expected")
print(f"rank of ties; negatives unobserved; seeds: {len(runs)}", end="; ")
if len(runs) > 1:
    spreads = [mean_and_spread([r["metrics"]["HR@10"] for r in of(c)])[1]
               for c in cells]  # fmt: skip
    print(f"spread over seeds: clean mean {spread:.3f},")
    print(f"at most {max(spreads):.3f} in a cell", end="; ")
print(f"\nsha256 of the test items {runs[0]['test_sha256'][:12]}")
board

# %% [markdown]
# K = 10, ties by their expected rank, training negatives "unobserved"; seeds and the test items' sha256 as printed.
# Local-only is the leaderboard's row, with all clients in each round. The intervals below are over users: they do not know
# what another seed would give. And "the best rule" is picked by the numbers it is then shown with, which flatters it a
# little.

# %%
gaps = {}
base = users(of("clean/mean"))
for condition in CONDITIONS:
    best = hr.loc[condition].idxmax()
    rule = next(short for short, word in WORDS.items() if word == best)
    best_users = users(of(f"{condition}/{rule}"))
    to_mean = paired_bootstrap(best_users, users(of(f"{condition}/mean")))
    to_clean = paired_bootstrap(best_users, base)
    gaps[condition] = {"best rule": best}
    for word, gap in (("the mean", to_mean), ("clean mean", to_clean)):
        told = f"[{gap.low:+.3f}, {gap.high:+.3f}]"
        gaps[condition][f"less {word}"] = f"{gap.mean_difference:+.3f} {told}"
pd.DataFrame(gaps).T

# %% tags=["remove-cell"]
glue("ch17-clean", float(hr.loc["clean", "mean"]))
glue("ch17-drop", float(hr.loc["drop-outs", "mean"]))
glue("ch17-broken", float(hr.loc["broken", "mean"]))
glue("ch17-flip", float(hr.loc["sign-flip", "mean"]))
glue("ch17-label", float(hr.loc["label-flip", "mean"]))
glue("ch17-krum", float(hr.loc["clean", "Krum"]))
honest = []
for run in of("label-flip/mean"):
    liars = Faults(hostile=0.2).liars(run["seed"], torch.arange(len(base)))
    honest.append(per_user(run, "HR@10")[~liars.numpy()].mean())
glue("ch17-label-honest", float(np.mean(honest)))
glue("ch17-median", float(hr.loc["clean", "median"]))
glue("ch17-all", float(hr.loc["all three", "mean"]))
glue("ch17-all-best", float(hr.loc["all three"].max()))
glue("ch17-all-rule", hr.loc["all three"].idxmax())
glue("ch17-pop", float(flat["popularity"]))
glue("ch17-flip-rule", hr.loc["sign-flip"].idxmax())
glue("ch17-flip-best", float(hr.loc["sign-flip"].max()))

# %% tags=["remove-cell"]
kept = hr.loc[["drop-outs", "broken"], "mean"].min()
glue("ch17-fail", float(hr.loc["clean", "mean"] - kept))
glue("ch17-scale", float(hr.loc["scale", "mean"]))
glue("ch17-scale-rule", hr.loc["scale"].idxmax())
glue("ch17-scale-best", float(hr.loc["scale"].max()))
glue("ch17-behind", float(behind[["promote", "label-flip"]].max()))
robust_rules = hr.loc["clean"].drop("mean")
glue("ch17-cheap-rule", robust_rules.idxmax())
glue("ch17-cheap", float(robust_rules.max()))
told = "one seed, which does not show its spread"
if len(runs) > 1:
    told = f"{len(runs)} seeds with a spread of up to {max(spreads):.3f}"
glue("ch17-seeds", told)

# %% [markdown]
# **Failing costs little.** With three in ten silent the mean keeps {glue:text}`ch17-drop:.3f` of
# {glue:text}`ch17-clean:.3f`; refused NaNs leave {glue:text}`ch17-broken:.3f`. Each cell is {glue:text}`ch17-seeds`:
# do not take a difference like {glue:text}`ch17-fail:.3f` for an effect before you have held it against that spread.
#
# **Two lies ruin the mean.** Sign flips bring it to {glue:text}`ch17-flip:.3f`, where the best rule,
# {glue:text}`ch17-flip-rule`, keeps {glue:text}`ch17-flip-best:.3f`; scaled updates to {glue:text}`ch17-scale:.3f`, where
# {glue:text}`ch17-scale-rule` keeps {glue:text}`ch17-scale-best:.3f`. With all three troubles at once the mean has
# {glue:text}`ch17-all:.3f` and the best rule, {glue:text}`ch17-all-rule`, {glue:text}`ch17-all-best:.3f`.
#
# **Two lies do not.** Under promotion and exchanged labels the mean is at most {glue:text}`ch17-behind:.3f` behind the best
# rule. Exchanged labels cost every rule much, and leave the mean {glue:text}`ch17-label:.3f`. Look at who is counted: a
# fifth of the users *are* the liars, who have taught their own vectors the opposite; the honest ones still get
# {glue:text}`ch17-label-honest:.3f`. Why does no rule help? Robust rules go by length and by distance, so measure both,
# in the first rounds:

# %%
measured = []


class Compare(Place):
    def client(self, work, message):
        lies = torch.isin(work.clients, work.flipped)
        sent = work.update["item"] * work.real[:, :, None]
        norm = sent.flatten(1).norm(dim=1)
        whole = dense_rows(work.ids, work.real, sent, work.n_items)
        score = robust.krum_scores(whole, int(0.3 * len(whole))).sqrt()
        for who, mask in (("honest", ~lies), ("label-flip", lies)):
            middle = float(norm[mask].median()), float(score[mask].median())
            measured.append((who, *middle))
        return {}


split, _, _, part = [*CASES.values()][-1]
local = LocalTraining(lr=1.0, lr_items=3200.0 if part < 1 else 200.0,
                      negatives_from="unobserved")  # fmt: skip
federate(split, FedMF(), local=local, rounds=10, clients_per_round=part,
         chunk=10_000, faults=Faults(hostile=0.2, attack="label-flip"),
         protect=Compare(), evaluate_every=10, device="cpu")  # fmt: skip
columns = ["client", "norm", "root of Krum's score"]
measured = pd.DataFrame(measured, columns=columns).groupby("client").mean()
measured.round(1)

# %% tags=["remove-cell"]
ratio = measured.loc["label-flip"] / measured.loc["honest"]
glue("ch17-ratio-norm", float(ratio["norm"]))
glue("ch17-ratio-score", float(ratio["root of Krum's score"]))

# %% [markdown]
# The median liar's update has {glue:text}`ch17-ratio-norm:.2f` times the length of the median honest one, and
# {glue:text}`ch17-ratio-score:.2f` times its distance from its neighbours (the root of $s_k$ in {eq}`eq-ch17-krum`). A rule
# that looks for the long and the remote finds neither.
#
# **Insurance has a premium.** While nothing goes wrong the median has {glue:text}`ch17-median:.3f`, and the cheapest
# insurance, {glue:text}`ch17-cheap-rule`, {glue:text}`ch17-cheap:.3f`. Krum has {glue:text}`ch17-krum:.3f`, where popularity
# has {glue:text}`ch17-pop:.3f`: it takes *one* client's update a round, and a recommender's clients are not noisy copies of
# each other. The theory of Krum assumes that they are. Here the odd one out
# is not a liar but a person with a taste.

# %%
shown = pd.DataFrame(index=["clean", "promote"])
for rule in RULES:
    cells = [f"{condition}/{rule}" for condition in shown.index]
    shown[WORDS[rule]] = [mean_of(c, lambda r: r["exposure"]) for c in cells]
glue("ch17-shown", float(shown.loc["promote", "mean"]))
glue("ch17-shown-trimmed", float(shown.loc["promote", "trimmed mean"]))
glue("ch17-promoted-hr", float(hr.loc["promote", "mean"]))
print("share of users who find the target among their ten:")
shown.round(3)

# %% [markdown]
# A promotion that works is hardly seen in HR@10. With the mean {glue:text}`ch17-shown:.0%` of the users are shown an item
# of few raters, while HR@10 is still {glue:text}`ch17-promoted-hr:.3f`. And "robust" is no word for it: with the trimmed
# mean it is {glue:text}`ch17-shown-trimmed:.0%`. In a round {glue:text}`ch17-liars-there:.0f` liars send this row and
# {glue:text}`ch17-honest-there:.0f` honest clients touch it, nearly all of them by a draw; liars are most in
# {glue:text}`ch17-most-there:.0%` of the rounds. A theorem about a fifth of the *clients* says nothing about a row that few
# clients touch. Whoever runs a recommender has to watch exposure.
#
# ## Who is served worse?
#
# The same stored ranks, user by user. First by *activity*: a third of the users with the fewest training items, a third in
# the middle, and those with most {cite}`ekstrand2018`. Then by how *popular* the held-out item is. BPR is the
# centralised twin: inner products as FedMF's, trained on pairs from everybody's data in one place.

# %%
MODELS = ("popularity", "itemknn", "bpr", "fedmf", "fcf", "fedncf")
if PROFILE == "smoke":  # no real data: a live run on the made-up shop
    from fedlib.centralized import BPR, Popularity, evaluate

    data = shop
    ranks = {"fedmf": train().per_user()}
    twin = BPR(epochs=20)
    for name, model in {"popularity": Popularity(), "bpr": twin}.items():
        tested = evaluate(model.fit(shop), shop, ks=(10,))
        ranks[name] = tested.per_user((10,))
    every = {name: each["HR@10"].to_numpy() for name, each in ranks.items()}
else:
    data = films
    by_cell = {}
    for r in board_rows:
        by_cell.setdefault(r["cell"].split("/")[-1], []).append(r)
    every = {name: users(found) for name, found in by_cell.items()}
hits = {name: every[name] for name in MODELS if name in every}
lengths = data.train.counts.numpy()
activity = pd.qcut(lengths, 3, labels=["few", "some", "many"])
counts = data.train.items.bincount(minlength=data.data.n_items)
held = counts[data.test.items].numpy()  # one test item a user, in order
fame = pd.qcut(held, 3, labels=["rare", "known", "famous"])

# %%
table = {}
for how, groups in (("training items", activity), ("test item", fame)):
    for label in groups.categories:
        part = groups == label
        row = {name: hit[part].mean() for name, hit in hits.items()}
        gap = paired_bootstrap(hits["fedmf"][part], hits["popularity"][part])
        row["fedmf - popularity"] = gap.mean_difference
        table[how, label] = row | {"from": gap.low, "to": gap.high}
groups = pd.DataFrame(table).T
groups.round(3)

# %% tags=["remove-cell"]
own = groups["fedmf"].astype(float)
glue("ch17-few", float(own["training items", "few"]))
glue("ch17-many", float(own["training items", "many"]))
glue("ch17-rare", float(own["test item", "rare"]))
glue("ch17-famous", float(own["test item", "famous"]))
glue("ch17-pop-rare", float(groups["popularity"]["test item", "rare"]))
glue("ch17-bpr-rare", float(groups["bpr"]["test item", "rare"]))
few = held[activity == "few"].mean(), held[activity == "many"].mean()
glue("ch17-held-few", float(few[0]))
glue("ch17-held-many", float(few[1]))
learned = [hit for hit in every.values() if hit.mean() > 0.2]
spans = [hit[fame == "famous"].mean() - hit[fame == "rare"].mean()
         for hit in learned]  # fmt: skip
glue("ch17-models", len(spans))
glue("ch17-least", float(min(spans)))

# %% mystnb={"image": {"alt": "Two panels of HR@10. Left, three groups of users by activity: FedMF lies above popularity and falls steeply from users with few training items to those with many. Right, three groups by the popularity of the held-out item: both lines climb steeply from rare to famous items, popularity from zero to nearly one."}, "figure": {"caption": "What one likes, and how long one's history is, matter more than the model does. A popularity ranker serves nobody with a rare item; a personal one serves them half as well as others (HR@10, leave-one-out, 99 rivals).", "name": "fig-ch17-groups"}}
import matplotlib.pyplot as plt

_, panels = plt.subplots(1, 2, figsize=(8.6, 3.6), sharey=True)
for ax, how in zip(panels, ("training items", "test item"), strict=True):
    part = groups.loc[how]
    for name in ("popularity", "fedmf"):
        ax.plot(part.index, part[name].astype(float), label=name)
    ax.set(xlabel=how, ylim=(0, 1))
panels[0].set_ylabel("HR@10")
_ = panels[1].legend()

# %% [markdown]
# {numref}`fig-ch17-groups` has two lessons. **Popularity.** For a rare held-out film FedMF hits
# {glue:text}`ch17-rare:.3f` of the time, popularity {glue:text}`ch17-pop-rare:.3f`; for a famous one
# {glue:text}`ch17-famous:.3f`. All {glue:text}`ch17-models` rankers of the board that learn, with an HR@10 above 0.2,
# serve rare films worse than famous ones, by {glue:text}`ch17-least:.2f` or more. Federating does not show as the cause:
# the centralised BPR has {glue:text}`ch17-bpr-rare:.3f` for rare films. What a robust rule does to such users is the last exercise.
#
# **Activity.** Users with few training items get {glue:text}`ch17-few:.3f`, those with many {glue:text}`ch17-many:.3f`. Is
# it the users, or what they are asked? The last film of a short history was chosen by {glue:text}`ch17-held-few:.0f` others
# on average, that of a long one by {glue:text}`ch17-held-many:.0f`, and popular films are easier.
#
# :::{admonition} Predict, then run
# :class: important
# How much of the gap will be left if one compares users whose held-out films are equally popular?
# :::
#
# Split by both, then weigh the three columns alike for everybody, each by its share of all users.

# %%
both = pd.DataFrame({"activity": activity, "fame": fame})
weight = both["fame"].value_counts(normalize=True)[fame.categories]
crossed, gaps = {}, {}
for name in ("popularity", "bpr", "fedmf"):
    cells = both.assign(hit=hits[name]).groupby(
        ["activity", "fame"], observed=False)["hit"]  # fmt: skip
    mean = cells.mean().unstack()
    error = (cells.var() / cells.count()).unstack()
    standard = mean @ weight
    gap = standard["few"] - standard["many"]
    error = error.loc[["few", "many"]] @ weight**2
    error = 1.96 * error.sum() ** 0.5
    gaps[name] = gap, gap - error, gap + error
    plain = [hits[name][activity == a].mean() for a in mean.index]
    crossed[name] = mean.assign(all=plain, standardised=standard)
columns = ["few - many, standardised", "from", "to"]
print("users in each cell:", pd.crosstab(activity, fame).to_numpy().tolist())
print(pd.DataFrame(gaps, columns).T.round(3).to_string())
pd.concat(crossed).round(3)

# %% tags=["remove-cell"]
tenths = pd.qcut(held, 10, duplicates="drop")
cells = pd.DataFrame({"a": activity, "f": tenths, "hit": hits["fedmf"]})
mean = cells.pivot_table("hit", "a", "f", observed=True)
finer = (mean.loc["few"] - mean.loc["many"]).dropna()
share = cells["f"].value_counts()[finer.index]
glue("ch17-gap-tenths", float((finer * share).sum() / share.sum()))
of_users = own["training items"]
glue("ch17-gap", float(of_users["few"] - of_users["many"]))
glue("ch17-gap-equal", float(gaps["fedmf"][0]))
glue("ch17-gap-low", float(gaps["fedmf"][1]))
glue("ch17-gap-high", float(gaps["fedmf"][2]))
glue("ch17-gap-bpr", float(gaps["bpr"][0]))
glue("ch17-gap-pop", float(gaps["popularity"][0]))

# %% [markdown]
# Of FedMF's gap of {glue:text}`ch17-gap:.3f` there remain {glue:text}`ch17-gap-equal:.3f` at equal popularity, between
# {glue:text}`ch17-gap-low:.3f` and {glue:text}`ch17-gap-high:.3f` (95 per cent, over users), and
# {glue:text}`ch17-gap-tenths:.3f` with tenths of popularity in place of thirds. Long histories get less in every column:
# the difference in task is real, and explains the smaller part. Nor is it federating: BPR's standardised gap is
# {glue:text}`ch17-gap-bpr:.3f`. That of the popularity ranker is {glue:text}`ch17-gap-pop:.3f`, so what long histories are
# asked is not harder by popularity alone. That a wide taste does not fit into one vector, or that the last film of a long
# history is less like the others, are guesses that these rows cannot tell apart. A gap between groups is one finding, its
# reason another, which wants a table of its own.
#
# ## Break it
#
# The knob is the share of liars. A rule that withstands a share $\beta$ does not degrade gently beyond it. A hundred clients
# send 40 numbers each, the honest ones something around 1, each something else. The liars have agreed on $-5$.
#
# :::{admonition} Predict, then run
# :class: important
# The honest step is 1. At which share of liars does the step of the mean turn round? And that of the median?
# :::

# %%
rows = []
for lying in range(0, 70, 5):
    for seed in range(5):
        who = torch.arange(100)
        key = rng.key(seed, "liars", lying)
        stack = 1 + rng.normal(key, who[:, None], torch.arange(40))
        stack[:lying] = -5
        said = {
            "mean": stack.mean(0), "median": median(stack),
            "trimmed mean": trimmed(stack, 0.3),
            "norm bound": norm_bounded(stack), "Krum": krum(stack, 30),
        }  # fmt: skip
        rows += [{"share": lying / 100, "rule": rule, "step": float(x.mean())}
                 for rule, x in said.items()]  # fmt: skip
sweep = pd.DataFrame(rows)

# %% mystnb={"image": {"alt": "Estimated mean of numbers around one, over the share of liars from 0 to 0.65, for five rules. The mean falls in a straight line through zero at about one sixth. Norm bound, trimmed mean and median sink slowly, then fall below zero around 0.4 to 0.5. Krum stays near one and then jumps to minus five before one half."}, "figure": {"caption": "Every rule has a share at which its step turns round, and none can hold beyond one half, where lies are the majority (a hundred clients, liars in agreement, mean and range of five draws).", "name": "fig-ch17-break"}}
ax = plots.axes("share of hostile clients", "step, where 1 is honest")
for rule, part in sweep.groupby("rule", sort=False):
    plots.curve(ax, part, "step", rule, x="share")
ax.axhline(0, color=plots.FAINT, marker="")
ax.set(ylim=(-6, 2))
_ = ax.legend(loc="lower left")

# %% [markdown]
# In {numref}`fig-ch17-break` the mean goes first: with a share $h$ of liars its step is $(1 - h) - 5h$, which is zero at a
# sixth. That is why a fifth was enough in the experiment. Beyond one half nobody can help: the server cannot know which
# majority to believe. In the loop rows break one by one, each at its own share: that of the liars among those who touched
# it.
#
# ## Paper beside ours
#
# FedSLLM's Table 5 gives bytes and FLOPs of its methods on FedNCF and ML-100K, without saying what is counted. Two numbers
# come out exactly:

# %%
FORM = FedNCF(32, hidden=(128, 64), gmf=0, dropout=0.5)
numbers = FORM.n_parameters(1682)  # table, network, one user vector
sizes = {
    "Comm. (MB), Base": (0.2689, numbers * 4 / 2**20),
    "Compute (MFLOPs), Base": (0.1645, 10 * multiply_adds(FORM) / 1e6),
    "Compute (MFLOPs), selected": (0.0164, multiply_adds(FORM) / 1e6),
}
for claimed, ours in sizes.values():
    assert abs(claimed - ours) < 6e-5
table = pd.DataFrame(sizes, index=["claimed", "ours"]).T
table.round(4)

# %% [markdown]
# So "MB" are units of $2^{20}$ bytes, one direction, with the user vector, which is never sent; "MFLOPs" are
# multiplications of *one* forward pass of the network, times ten without selection. No sample count enters, no backward
# pass, no round. What a client of MovieLens 100K really computes in a round follows from {eq}`eq-ch17-cost`:

# %%
positives = 99_057 / 943 if PROFILE == "smoke" else float(
    data.train.counts.float().mean()
)  # fmt: skip
real = 3 * 5 * positives * multiply_adds(FORM) / 1e6
glue("ch17-real", real)
glue("ch17-factor", real / 0.1645)

# %% [markdown]
# About {glue:text}`ch17-real:.0f` million multiplications, {glue:text}`ch17-factor:.0f` times the printed number. The
# *ratio* of the paper's rows survives, because it is the ratio of samples; the absolute saving it suggests does not.
#
# ## Exercises

# %% [markdown]
# :::{exercise} ★ Warm-up: a month of FedMF
# :label: ex-ch17-month
# A catalogue of 10,000 items, 64 numbers each, four bytes a number, one round a night, both directions. How many gigabytes
# in 30 nights? And how many multiplications is a night's training of a client with 50 items and four negatives each, by
# {eq}`eq-ch17-cost`?
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# The table travels whole. A score is one inner product.
#
# </details>


# %% tags=["exercise"]
def month(items, dim, positives):
    return None  # your code


book.check(month(10_000, 64, 50), [0.1536, 48_000])

# %% [markdown]
# :::{solution-start} ex-ch17-month
# :label: sol-ch17-month
# :class: dropdown
# :::
#
# The catalogue is paid for every night, the history hardly counts.


# %% tags=["solution"]
def month(items, dim, positives):
    return [30 * 2 * 4 * items * dim / 1e9, 3 * 5 * positives * dim]


book.check(month(10_000, 64, 50), [0.1536, 48_000])

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} ★★ Build: the geometric median
# :label: ex-ch17-geometric
# The point with the smallest sum of *distances* to all updates is a median that sees an update as a whole. Weiszfeld's
# iteration: start at the mean, then take the mean with weights $1 / \lVert \Delta_k - x \rVert$, again and again. Write
# `geometric_median(updates, steps)`.
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# Keep the distances away from zero with `clamp(min=1e-9)`.
#
# </details>


# %% tags=["exercise"]
def geometric_median(updates, steps):
    return None  # your code


found = geometric_median(SENT, 200)
far = found is None or float((found - SENT[:4].mean(0)).norm())
yours = None if found is None else far < 1.0
book.check(yours, True)

# %% [markdown]
# :::{solution-start} ex-ch17-geometric
# :label: sol-ch17-geometric
# :class: dropdown
# :::
#
# However far Eve goes, she pulls with a force of one.


# %% tags=["solution"]
def geometric_median(updates, steps):
    x = updates.mean(0)
    for _ in range(steps):
        weight = 1 / (updates - x).norm(dim=1).clamp(min=1e-9)
        x = (weight @ updates) / weight.sum()
    return x


found = geometric_median(SENT, 200)
far = found is None or float((found - SENT[:4].mean(0)).norm())
yours = None if found is None else far < 1.0
book.check(yours, True)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} ★★★ Research: whom does robustness silence?
# :label: ex-ch17-silence
# A robust rule cannot tell a liar from a person with a rare taste. Write `by_fame(value)`: the means of a value per user of
# the made-up shop over those with rare, known and famous test items, thirds by how often the item is in the training data.
# Then compare `train(rule=..., seed=...)` under the mean, the median and Krum, over three seeds. Who pays the premium?
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# `pd.qcut(..., 3, labels=FAME)` of the shop's own counts, as above, and a `groupby`. The check hands over each user's
# number, so that the right thirds have the right means.
#
# </details>


# %% tags=["exercise"]
FAME = ["rare", "known", "famous"]


def by_fame(value):
    return None  # your code


yours = by_fame(pd.Series(range(200)))
yours = None if yours is None else [yours[group] for group in FAME]
book.check(yours, [6687 / 69, 7652 / 67, 5561 / 64])

# %% [markdown]
# :::{solution-start} ex-ch17-silence
# :label: sol-ch17-silence
# :class: dropdown
# :::


# %% tags=["solution"]
FAME = ["rare", "known", "famous"]


def by_fame(value):
    counts = shop.train.items.bincount(minlength=shop.data.n_items)
    held = counts[shop.test.items].numpy()
    thirds = pd.qcut(held, 3, labels=FAME)
    return value.groupby(thirds, observed=True).mean()


yours = by_fame(pd.Series(range(200)))
yours = None if yours is None else [yours[group] for group in FAME]
book.check(yours, [6687 / 69, 7652 / 67, 5561 / 64])

# %%
table = {}
seeds = range(1 if PROFILE == "smoke" else 3)
for name, rule in (("mean", None), ("median", "median"), ("Krum", "krum")):
    runs = [train(rule=rule, seed=seed).per_user() for seed in seeds]
    parts = [by_fame(each["HR@10"]) for each in runs]
    table[name] = sum(parts) / len(parts)
    table[name]["all"] = np.mean([each["HR@10"].mean() for each in runs])
pd.DataFrame(table).T.round(3)

# %% [markdown]
# With 200 users a third is 67 people, and these are three seeds: read the signs, and run more before you believe the sizes.
# The expectation that robustness silences rare tastes fails here. The rules take from the famous third and give the others
# a little: a median among those who touched a row is not held back by those who did not. A robust rule is a different
# model, not the same one with insurance.
#
# :::{solution-end}
# :::
#
# ## Quiz
#
# **1.** Two methods differ tenfold in FLOPs. What do you know about their seconds?
#
# <details class="option"><summary>they differ tenfold</summary>
#
# **No.** Small models wait for memory, and arithmetic is not what they wait for.
#
# </details>
# <details class="option"><summary>little, before you measure</summary>
#
# **Right.** FLOPs say how a cost grows with the size of a layer.
#
# </details>
#
# **2.** Look at {numref}`fig-ch17-story`. Why is the mean not worse under drop-outs?
#
# <details class="option"><summary>the server repeats lost rounds</summary>
#
# **No.** It goes on with those that are there.
#
# </details>
# <details class="option"><summary>who is lost is drawn at random, so a round is a smaller sample</summary>
#
# **Right.** A deadline that always hits the same clients would be another matter.
#
# </details>
# <details class="option"><summary>robust rules are at work</summary>
#
# **No.** The mean is not a robust rule.
#
# </details>
#
# **3.** Why can a server not take a median under secure aggregation?
#
# <details class="option"><summary>it takes too long</summary>
#
# **No.** It is not a matter of time.
#
# </details>
# <details class="option"><summary>it has the sum only</summary>
#
# **Right.** A median needs every term.
#
# </details>
#
# **4.** Why does Krum do badly without any liar?
#
# <details class="option"><summary>it uses one client's update a round</summary>
#
# **Right.** And clients of a recommender differ for good reasons.
#
# </details>
# <details class="option"><summary>it needs more liars to work</summary>
#
# **No.** It needs honest clients that resemble each other.
#
# </details>
#
# **5.** HR@10 is as always, and yet one item is shown to everybody. Which tool tells you?
#
# <details class="option"><summary>a longer test</summary>
#
# **No.** Hits do not count what else is on a list.
#
# </details>
# <details class="option"><summary>exposure: how many lists an item is on</summary>
#
# **Right.** It looks at the lists, not at the held-out items alone.
#
# </details>
#
# **6.** Users with short histories score higher, and their held-out films are more popular. Is that the reason?
#
# <details class="option"><summary>yes: popular films are easier</summary>
#
# **No.** That makes it possible, and says nothing about how much of the gap it explains.
#
# </details>
# <details class="option"><summary>it takes a comparison at equal popularity</summary>
#
# **Right.** Here it explains the smaller part: most of the gap is left.
#
# </details>
# <details class="option"><summary>no: the model is unfair, by the difference of the means</summary>
#
# **No.** Part of that difference is the task.
#
# </details>
#
# ## Summary
#
# - Bytes, multiplications and seconds are three bills; none predicts another well, and none predicts quality.
# - Random failures cost little, if the server checks what it gets. A deadline silences the same people always.
# - The mean obeys whoever sends the largest numbers. Median, trimmed mean and norm bound limit a liar to one voice among
#   those who touch a row, and there a few liars may be half; Krum bets on one client.
# - Robust rules need every update by itself, secure sums hide them: choose, and say what you chose.
# - A mean over users hides that rare items are found half as often, and that long histories are served worse even at equal
#   popularity. Show groups, and compare them at equal tasks before you explain a gap.
#
# **What next?** The [appendix on writing your own](../book/extend.md) has the contract of a place: a rule of your own is one
# class. The [ambiguity log](../book/ambiguity.md) lists what papers leave open.
#
# **Further reading.** {cite:t}`blanchard2017krum` prove that no linear rule withstands one liar.
# {cite:t}`yin2018byzantine` say how fast a median can learn. {cite:t}`sun2019backdoor` ask whether attacks on means
# survive a norm bound. {cite:t}`ekstrand2018` show whom recommenders serve, on two data sets. {cite:t}`kairouz2021`,
# sections 5 and 6, survey both robustness and fairness.
