# %% [markdown]
# # Evaluation you can trust
#
# By the end of this chapter you can say what an HR@10 of .6 means, whom it was measured against, how far to believe
# it, and which published tables cannot have come from one run.

# %% cellView="form" tags=["setup", "hide-input"]
# @title Set-up: run this cell first
import importlib.util

if importlib.util.find_spec("fedlib") is None:
    raise ModuleNotFoundError("fedlib is missing: pip install it from a copy of its repository")

from fedlib import book

PROFILE = book.start()

# %% tags=["remove-cell"]
import torch

from fedlib import rng
from fedlib.book import plots

TOTAL, PLACE = 1_500, 101  # items of a shop, place of the test item
order = rng.permutation(TOTAL - 1, rng.key(0, "story"))[:99] + 1
drawn = torch.cat([order + (order >= PLACE), torch.tensor([PLACE])]).sort()[0]
SHORT = int((drawn <= PLACE).sum())  # its place among the hundred


def strip(ax, y, middles, place, first_ten):
    """A list from its best item on the left to its worst on the right."""
    green = {"color": plots.COLOURS[2], "alpha": 0.35, "lw": 0}
    ax.fill_between([0, first_ten], y - 0.02, y + 0.24, **green)
    ax.vlines(middles, y, y + 0.22, color=plots.COLOURS[0], lw=1)
    ax.vlines(place, y - 0.03, y + 0.25, color=plots.COLOURS[1], lw=4)


# %% tags=["hide-input"] mystnb={"image": {"alt": "Two strips. The upper one stands for 1,500 items from best to worst score, 99 drawn ones marked in blue and the test item in orange at place 101, beyond the sliver of the first ten. Thin lines lead down to the lower strip of these hundred alone, where the first ten are a tenth of the width and hold the test item."}, "figure": {"caption": "The same item, the same scores: no hit among all items, a hit among a hundred drawn ones. The green bands are the first ten places.", "name": "fig-ch2-story"}}
ax = plots.axes("", "", 7, 3)
long, short = drawn / TOTAL, (torch.arange(100) + 0.5) / 100
ax.plot(
    torch.stack([long, short]).numpy(),
    [[0.62], [0.22]],
    color=plots.FAINT,
    lw=0.4,
    marker="",
)
strip(ax, 0.62, long, PLACE / TOTAL, 10 / TOTAL)
strip(ax, 0.0, short, (SHORT - 0.5) / 100, 10 / 100)
ax.text(0, 0.92, f"among all {TOTAL:,} items: place {PLACE}, no hit")
ax.text(0, -0.14, f"among a hundred of them: place {SHORT}, a hit")
ax.set(xlim=(-0.01, 1.01), ylim=(-0.15, 1))
_ = ax.axis("off")

# %% [markdown]
# :::{admonition} At a glance
# :class: tip
# - **You will** rank by hand and in tensors, derive what chance reaches, compute what sampling does to a metric, put
#   intervals on differences, and audit a published table.
# - **You need** the five rankers of [chapter 1](01_baselines.ipynb) as ideas, and PyTorch tensors. The one federated
#   model here is built in [chapter 3](03_federated_loop.ipynb); take it as a black box until then.
# - **Data** MovieLens 100K {cite}`harper2015movielens`, for research use and not redistributed here; the made-up book
#   shop `synthetic` (free of rights) in the profile `smoke`.
# - **Sources** the protocol of {cite:t}`he2017ncf`; sampled metrics, {cite:t}`krichene2020sampled`; the tables of
#   {cite:t}`fedsllm`, {cite:t}`fedgdve` and {cite:t}`fedmr`.
# :::
#
# ## Entry check
#
# **1.** A reader's one held-out book comes out at place 7 of the list. What is this reader's HR@5?
#
# <details class="option"><summary>0</summary>
#
# **Right.** HR@5 of one reader is one if the book is among the first five, and zero otherwise.
#
# </details>
# <details class="option"><summary>5/7</summary>
#
# **No.** A hit is a hit or none; fractions arise only when we average over readers.
#
# </details>
# <details class="option"><summary>1</summary>
#
# **No.** Place 7 lies beyond the first five, so this would be right for HR@10.
#
# </details>
#
# **2.** NDCG weighs a hit at place $r$ by $1/\log_2(1+r)$. What is the weight of place 3?
#
# <details class="option"><summary>⅓</summary>
#
# **No.** That is the reciprocal rank $1/r$, which falls faster.
#
# </details>
# <details class="option"><summary>½</summary>
#
# **Right.** $\log_2 4 = 2$. Place 1 weighs 1, place 3 weighs half of it, place 7 a third.
#
# </details>
# <details class="option"><summary>log₂ 3</summary>
#
# **No.** This is larger than one, and a weight must not grow with the place.
#
# </details>
#
# **3.** You ask 900 users instead of 100. How much narrower is the 95 % interval of a mean?
#
# <details class="option"><summary>nine times</summary>
#
# **No.** Nine times the users divide the *variance* of the mean by nine; an interval has the width of its root.
#
# </details>
# <details class="option"><summary>three times</summary>
#
# **Right.** The standard error is $s/\sqrt{m}$. Missed one? [Chapter 1](01_baselines.ipynb) measures all three.
#
# </details>
# <details class="option"><summary>not at all</summary>
#
# **No.** The spread between users stays as it is, but their mean becomes more certain.
#
# </details>

# %%
import io
import math
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from scipy.stats import binom, hypergeom

from fedlib import FedMF, LocalTraining, federate, load
from fedlib.book import check, glue
from fedlib.centralized import BPR, Chance, ItemKNN, Popularity, evaluate
from fedlib.data import UserItems, fetch, files
from fedlib.engine.reading import score_all
from fedlib.evaluation.metrics import Ranking, rank_all, rank_sampled
from fedlib.evaluation.stats import mean_and_spread, paired_bootstrap

torch.set_num_threads(1)  # the tensors are small

# %% [markdown]
# ## Five readers by hand
#
# Five readers, six books, and a model's scores in {numref}`fig-ch2-scores`. One book of each reader was held out. The
# books they trained on are no candidates any more: nobody needs to be told what they have read.

# %% mystnb={"image": {"alt": "A grid of scores, five readers by six books. Cells of training books are empty. One cell in each row has a frame: D for Ada with 6, F for Ben with 2, C for Cem with 4, D for Dia with 7, E for Eva with 2. Cem has two other fours and all of Eva's scores are 2."}, "figure": {"caption": "Evaluation sees nothing but this: a row of scores for each reader, gaps where a book was trained on, and one framed test book.", "name": "fig-ch2-scores"}}
READERS, BOOKS = ["Ada", "Ben", "Cem", "Dia", "Eva"], list("ABCDEF")
gap = torch.nan
S = torch.tensor(
    [
        [gap, 7, 4, 6, 2, 1],
        [5, gap, 3, 1, 6, 2],
        [4, 1, 4, 2, 4, gap],
        [3, gap, 5, 7, gap, 1],
        [gap, 2, 2, 2, 2, 2],
    ]
)
TEST = [3, 5, 2, 3, 4]
ax = plots.axes("", "", 5.5, 3.4)
plots.matrix(ax, S, READERS, BOOKS, form=".0f")
for u, i in enumerate(TEST):
    look = {"fill": False, "ec": plots.COLOURS[1], "lw": 3}
    ax.add_patch(Rectangle((i - 0.46, u - 0.46), 0.92, 0.92, **look))

# %% [markdown]
# The *place* (or rank) of the test item $i$ counts the candidates above it. Where others have the same score we take
# the middle of the places it could get, the *expected place*:
#
# $$
# r = 1 + \#\{j : s_j > s_i\} + \tfrac12\, \#\{j \ne i : s_j = s_i\} .
# $$ (eq-ch2-place)
#
# With one test item a user, the two metrics of this chapter are functions of its place:
#
# $$
# H@K = [\,r \le K\,], \qquad N@K = \frac{[\,r \le K\,]}{\log_2(1+r)} .
# $$ (eq-ch2-metrics)
#
# $H$ is the hit ratio HR, $N$ is NDCG; its divisor, the gain of an ideal list, is 1 here.
#
# :::{admonition} Predict, then run
# :class: important
# Write down the five places, and the means of HR@2 and NDCG@2. Mind Cem and Eva.
# :::


# %%
def place(scores, item):
    """The expected place of one item in a row of scores with gaps."""
    above = int((scores > scores[item]).sum())
    equal = int((scores == scores[item]).sum()) - 1  # not with itself
    return 1 + above + equal / 2


def hit(place, k):
    return float(place <= k)


def gain(place, k):
    return hit(place, k) / math.log2(1 + place)


places = [place(S[u], TEST[u]) for u in range(5)]
hand = pd.DataFrame({"place": places}, index=READERS)
hand["HR@2"] = [hit(r, 2) for r in places]
hand["NDCG@2"] = [gain(r, 2) for r in places]
assert places == [2, 4, 2, 1, 3] and hand["HR@2"].mean() == 0.6
hand.loc["mean"] = hand.mean()
hand.round(3)

# %% [markdown]
# Cem's book shares places 1 to 3 with two others and gets the middle one. Eva's model has no opinion, and gets the
# middle of five. Three decisions stand behind such a table: what is held out, whom it is ranked against, and what a tie
# is worth.
#
# ## What is held out
#
# ### Everybody's last item
#
# *Leave-one-out* tests each user's last item and validates on the last but one. "Last" needs a clock:


# %%
name = "synthetic" if PROFILE == "smoke" else "ml-100k"
data = load(name)
split = data.leave_one_out(seed=0)
m, n = data.n_users, data.n_items


def rating_log():
    """User, item and time of every rating, in the order of the file."""
    where = fetch(name)
    file, member = files.beside(where, "u.data"), "ml-100k/u.data"
    text = files.read(file) if file else files.read_member(where, member)
    columns = ["user", "item", "stars", "time"]
    table = pd.read_csv(io.BytesIO(text), sep="\t", names=columns)
    for column in ("user", "item"):
        table[column] = table[column].rank(method="dense").astype(int) - 1
    return table


def made_up_log():
    """The shop has no clock: three books an hour, from some hour on."""
    log = data.interactions
    step = (torch.arange(len(log.items)) - log.indptr[log.users]) // 3
    time = rng.integers(100, rng.key(0, "clock"), log.users) + step
    columns = torch.stack([log.users, log.items, time], dim=1)
    return pd.DataFrame(columns.numpy(), columns=["user", "item", "time"])


# %%
log = made_up_log() if name == "synthetic" else rating_log()


def cut(log):
    """Leave-one-out by (time, order of the rows)."""
    log = log.sort_values(["user", "time"], kind="stable")
    user, item = torch.tensor(log[["user", "item"]].to_numpy()).T
    own = UserItems.from_pairs(user, item, m)
    return replace(data, interactions=own).leave_one_out(seed=0)


assert cut(log).test_sha256 == split.test_sha256  # yours is the package's

# %%
newest = log["time"] == log.groupby("user")["time"].transform("max")
glue("ch2_tied", int((newest.groupby(log["user"]).sum() > 1).sum()))
mixed = log.iloc[rng.permutation(len(log), rng.key(0, "ties")).numpy()]
orders = {"file": log, "file reversed": log[::-1], "shuffled": mixed}
rows = {}
for order, other in orders.items():
    part = cut(other)
    moved = int((part.test.items != split.test.items).sum())
    rows[order] = {"other test items": moved, "sha256": part.test_sha256[:8]}
    for label, ranker in (("popularity", Popularity()), ("kNN", ItemKNN())):
        found = evaluate(ranker.fit(part), part).metrics((10,))
        rows[order][f"HR@10 {label}"] = round(found["HR@10"], 3)
pd.DataFrame(rows).T

# %% [markdown]
# The last time stamp of {glue:text}`ch2_tied` users of {glue:text}`ch2_users` belongs to several items. Whoever sorts
# them differently tests on other items. Here that moves the metrics by about as much as papers claim to improve them.
# `fedlib` orders by time, then by position in the file, and prints the first digits of a checksum of the test items
# under every table: two results with different checksums were not measured on the same test.
#
# ### A leak nobody wrote
#
# Everybody's last item is last in *their* time. Other users' later choices are in training.

# %%
by_time = log.sort_values(["user", "time"], kind="stable")
from_end = by_time.groupby("user").cumcount(ascending=False)
train, moment = by_time[from_end >= 2], by_time[from_end == 0]["time"]
clock = np.sort(train["time"])
later = 1 - np.searchsorted(clock, moment, side="right") / len(clock)
glue("ch2_later", float(later.mean()))
glue("ch2_users", m)

known = torch.zeros(m, n)  # counts just before a user's last choice
for item, times in train.groupby("item")["time"]:
    known[:, item] = torch.tensor(np.searchsorted(np.sort(times), moment))

popular = Popularity().fit(split)
counts = {"all training": popular.score, "the past only": known.__getitem__}
hits = {}
for label, score in counts.items():
    found = rank_all(score, [split.train], split.test).per_user((10,))
    hits[label] = found["HR@10"].to_numpy()
    print(f"popularity from {label}: HR@10 {hits[label].mean():.3f}")
leak = paired_bootstrap(*hits.values())
interval = f"95 % interval [{leak.low:+.3f}, {leak.high:+.3f}]"
print(f"difference {leak.mean_difference:+.3f}, {interval}")

# %% [markdown]
# On average {glue:text}`ch2_later:.0%` of the training interactions are later than a user's test item. A popularity
# ranker that forgets them does about as well: the interval over users contains zero. So the leak is large, and harmless
# to *this* ranker. Other models may gain more, and {cite:t}`ji2023leakage` found that the order of methods can change.
# [Chapter 3](03_federated_loop.ipynb) meets another leak, in the training negatives.
#
# ### A random fifth
#
# The graph family splits each user's items at random, four fifths to train. Now $T$ items of a user are relevant, and
# with $h$ of them among the first $K$ there is precision $h/K$, recall $h/T$ and
#
# $$
# \mathrm{NDCG}@K = \frac{\sum_{r \le K} 1/\log_2(1+r)}{\sum_{i=1}^{\min(K,T)} 1/\log_2(1+i)} ,
# $$ (eq-ch2-ndcg)
#
# the first sum over the places of the $h$ hits. The public code of NGCF {cite}`wang2019ngcf` divides by the ideal of
# $h$ items instead of $\min(K,T)$. We call that NDCG*.
#
# :::{admonition} Predict, then run
# :class: important
# A user has two test items, at places 1 and 8. Then the second drops to place 30. What happens to NDCG@10, and what to
# NDCG*@10?
# :::

# %%
rows = {}
for second in (8, 30):
    ranks, owner = torch.tensor([1.0, second]), torch.tensor([0, 0])
    one = Ranking(ranks, owner, tied=ranks < 0, n_users=1).metrics((10,))
    rows[f"by hand, places 1 and {second}"] = list(one.values())
ideal = gain(1, 10) + gain(2, 10)
assert math.isclose(one["NDCG@10"], gain(1, 10) / ideal)
assert one["NDCG*@10"] == 1

ratio = data.ratio_split(seed=0)
for label, ranker in (
    ("random", Chance()),
    ("popularity", Popularity()),
    ("item-kNN", ItemKNN()),
):
    on_ratio = evaluate(ranker.fit(ratio), ratio, ks=(100,))
    rows[f"{name}, {label}"] = list(on_ratio.metrics((100,)).values())
columns = ["HR", "NDCG", "precision", "recall", "NDCG*"]
shown = pd.DataFrame(rows, index=columns).T
shown.round(3)

# %% [markdown]
# *By hand K = 10, on the data K = 100, all items outside training ranked.* NDCG* never falls short of NDCG, is
# a good deal larger on real data, and *rises* when a hit is lost. The two must not stand in one column.
#
# ## Against whom
#
# Two protocols share the leave-one-out split, and no number of one may be compared with a number of the other:
#
# - **A, sampled.** The test item against 99 items that the user never touched, drawn once.
# - **B, full.** The test item against all items outside the user's training items.
#
# A ranker that guesses lands on each of $C$ places equally often, so
#
# $$
# \mathbb E\,H@K = \frac KC, \qquad \mathbb E\,N@K = \frac1C \sum_{r=1}^{K} \frac{1}{\log_2(1+r)},
# $$ (eq-ch2-chance)
#
# with $C = 100$ under A and $C_u = n - |\mathrm{train}_u|$ under B.

# %%
SEEDS, RULERS = (0, 1, 2), ("A, of 100", "B, of all")
users = torch.arange(m)
tests, rivals = split.test.items[:, None], split.test_negatives
candidates = torch.cat([tests, rivals], dim=1)  # (m, 100)


def both(score):
    """The test items' places under A and under B, from one scoring."""
    sampled = rank_sampled(score(users).gather(1, candidates))
    return sampled, rank_all(score, [split.train], split.test)


rankers = {
    "random": [Chance(seed).fit(split) for seed in SEEDS],
    "popularity": [popular],
    "item-kNN": [ItemKNN().fit(split)],
    "BPR": [BPR(seed=seed).fit(split) for seed in SEEDS],
}
found = {}  # method: a pair of rankings for each seed
for method, fitted in rankers.items():
    found[method] = [both(one.score) for one in fitted]

# %%
rows = {}
for ruler, C in enumerate((torch.full((m,), 100), n - split.train.counts)):
    H = float((10 / C).mean())
    N = float((sum(gain(r, 10) for r in range(1, 11)) / C).mean())
    rows[RULERS[ruler], "by formula"] = [H, N]
    each = [pair[ruler].metrics((10,)) for pair in found["random"]]
    means = [np.mean([one[k] for one in each]) for k in ("HR@10", "NDCG@10")]
    rows[RULERS[ruler], "measured"] = means
pd.DataFrame(rows, index=["HR@10", "NDCG@10"]).T.round(4)

# %% [markdown]
# ### What a draw of 99 does to a place
#
# Let $r$ be the exact place among the $M$ items a user never touched, plus the test item. Then $r-1$ of the $M$ are
# better, and of those the 99 drawn ones contain $X$, a hypergeometric number. The item is a hit if $X < K$:
#
# $$
# P(\text{hit} \mid r) = \sum_{x=0}^{K-1} \binom{r-1}{x} \binom{M-r+1}{99-x} \Big/ \binom{M}{99} .
# $$ (eq-ch2-sampled)

# %% mystnb={"image": {"alt": "Probability of a sampled hit over the exact place on a logarithmic axis. The curve stays at one up to place 50, passes one half near place 150 and reaches zero near place 300. Simulated squares lie on it. A dashed step, the exact HR@10, falls from one to zero at place 10."}, "figure": {"caption": "Ten of a hundred is not ten of all: an item at place 100 of 1,501 is as good as one at place 1 to the sampled HR@10. Line: closed form; squares: 500 simulated draws.", "name": "fig-ch2-hit"}}
M = 1_500
every = np.arange(1, M + 2)
P = hypergeom(M, every - 1, 99).cdf(9)  # X < 10

draw = torch.arange(500)[:, None]
bits = rng.bits(rng.key(0, "draws"), draw, torch.arange(M))
drawn = bits.argsort(1)[:, :99]  # 500 draws of 99 places
some = [1, 3, 10, 30, 70, 100, 130, 160, 200, 250, 300, 400, 1000]
share = [float(((drawn < r - 1).sum(1) < 10).double().mean()) for r in some]
assert np.abs(share - P[np.array(some) - 1]).max() < 4 * 0.5 / 500**0.5

ax = plots.axes("exact place", "probability of a sampled hit")
ax.plot(every, P, marker="", label="closed form")
ax.plot(some, share, ls="", label="simulated")
look = {"ls": "--", "color": plots.FAINT, "marker": ""}
ax.plot([1, 10, 10, M], [1, 1, 0, 0], label="exact HR@10", **look)
ax.set_xscale("log")
_ = ax.legend()

# %% [markdown]
# :::{admonition} Predict, then run
# :class: important
# Recommender *sharp* puts half of the test items at place 1 and half at place 1,000. Recommender *dull* puts all of
# them at place 100. Who wins under HR@10 of all items, and who under the sampled HR@10?
# :::

# %%
rows = {}
for label, made_up in {"sharp": [1, 1000], "dull": [100, 100]}.items():
    exactly = np.mean([hit(r, 10) for r in made_up])
    rows[label] = [exactly, np.mean([P[r - 1] for r in made_up])]
pd.DataFrame(rows, index=["HR@10 of all", "of 100, expected"]).T.round(3)

# %% [markdown]
# The order is reversed, and no number of draws will help: this is the expectation. {cite:t}`krichene2020sampled` call
# such metrics *inconsistent*. Is it so on data? First the noise. BPR's exact places give an expected sampled HR@10; five
# draws of candidates should scatter about it.

# %%
bpr = rankers["BPR"][0]
touched = [split.train, split.valid]  # what A never draws
exact = rank_all(bpr.score, touched, split.test).ranks.numpy()
untouched = (n - data.interactions.counts).numpy()
p = hypergeom(untouched, exact.astype(int) - 1, 99).cdf(9)  # one a user
noise = (p * (1 - p)).sum() ** 0.5 / m
draws = []
for seed in range(5):
    drawn = evaluate(bpr, data.leave_one_out(seed=seed))
    draws.append(drawn.metrics((10,))["HR@10"])
draws = np.array(draws)
assert abs(draws.mean() - p.mean()) < 4 * noise / 5**0.5
glue("ch2_noise", float(noise))
print(f"expected {p.mean():.3f}, standard deviation of a draw {noise:.4f}")
print("five draws", draws.round(3))

# %% [markdown]
# The draw of candidates alone has a standard deviation of {glue:text}`ch2_noise:.3f`, which is seldom reported. Now the
# order. We tune item-kNN on validation items, 28 settings, and compare their order by sampled HR@10 with their order by
# HR@K of all items.

# %% mystnb={"image": {"alt": "Rank correlation with the sampled HR@10 over the K of the full ranking on a logarithmic axis, one curve. It is slightly negative for K from 1 to 10, about 0.3 at 20 and 0.7 at 50, and around 0.9 from 150 on."}, "figure": {"caption": "The sampled HR@10 sorts 28 settings of item-kNN almost like HR@150 of all items, and unlike HR@10. Spearman correlation on validation items, ML-100K.", "name": "fig-ch2-order"}}
depths = [k for k in (1, 5, 10, 20, 50, 100, 150, 200, 300) if k <= n // 5]
chosen = torch.cat([split.valid.items[:, None], split.valid_negatives], dim=1)
grid = {}
for neighbours in (5, 10, 20, 50, 100, 200, 400):
    for shrinkage in (0.0, 10.0, 30.0, 100.0):
        knn = ItemKNN(neighbours=neighbours, shrinkage=shrinkage).fit(split)
        sampled = rank_sampled(knn.score(users, chosen)).metrics((10,))
        exactly = rank_all(knn.score, [split.train], split.valid)
        exactly = exactly.metrics(depths)
        row = [sampled["HR@10"], *(exactly[f"HR@{k}"] for k in depths)]
        grid[neighbours, shrinkage] = row
grid = pd.DataFrame(grid, index=["sampled", *depths]).T
order = grid.corr(method="spearman")["sampled"].drop("sampled")
glue("ch2_same_k", float(order[10]))
glue("ch2_best_k", int(order.idxmax()))
glue("ch2_best", float(order.max()))

ax = plots.axes("K of the full ranking", "correlation with sampled HR@10")
ax.plot(order.index, order)
ax.axhline(0, color=plots.FAINT, lw=1, marker="")
ax.set_xscale("log")
_ = ax.set_xticks(depths[::2], depths[::2])

# %% [markdown]
# The correlation is {glue:text}`ch2_same_k:.2f` with HR@10 of all items and {glue:text}`ch2_best:.2f` with
# HR@{glue:text}`ch2_best_k`. That is {numref}`fig-ch2-hit` again: ten of a hundred is about one tenth of the catalogue.
# Part of the disorder at small K is noise, for the settings are close; the shape of the curve is not. Read a sampled
# HR@10 as "finds the right tenth of the shop": worth something, but not a list of ten.
#
# ## Equal scores
#
# Public evaluators sort, and the sort decides about ties: with the test item listed first and a stable sort it wins
# them all, listed last it loses them all. A model that says 0 to everything then gets


# %%
def above_and_equal(scores):
    """Rivals above the test item in column 0, and level with it."""
    own, rivals = scores[:, :1], scores[:, 1:]
    return (rivals > own).sum(1), (rivals == own).sum(1)


zeros = torch.zeros(m, 100)
above, equal = above_and_equal(zeros)
luck = rng.integers(equal + 1, rng.key(0, "luck"), users)
rules = {
    "test item first": 1 + above,
    "test item last": 1 + above + equal,
    "shuffled": 1 + above + luck,
    "expected place": rank_sampled(zeros).ranks,
}
rows = {}
for rule, r in rules.items():
    rows[rule] = [float(r.double().mean()), float((r <= 10).double().mean())]
pd.DataFrame(rows, index=["mean place", "HR@10"]).T.round(2)

# %% [markdown]
# from 0 to 1 without having learned anything. Shuffling gives chance, with noise; the expected place says "in the
# middle", and no hit. That is severe towards a model without an opinion, and deterministic. Do ties occur in real
# models? They do where probabilities are ranked: in single precision $\sigma(z)$ is exactly 1 from $z \approx 17$ on.
# We multiply BPR's logits by a factor, as long training does, which leaves their order as it is.

# %% mystnb={"image": {"alt": "HR@10 of BPR over a factor on its logits from 1 to 32, three curves. All agree up to factor 4. Beyond, the curve with the test item first rises above 0.75, the one with the test item last falls towards zero, the expected place falls to about 0.4. A dashed line at 0.64 marks the ranking of logits."}, "figure": {"caption": "Nothing but the arithmetic changes, and the tie rule makes the same model excellent or useless. Logits do not tie. Seed 0, protocol A.", "name": "fig-ch2-ties"}}
logits = bpr.score(users, candidates)
rows = []
for factor in (1, 2, 4, 6, 8, 12, 16, 24, 32):
    above, equal = above_and_equal(torch.sigmoid(logits * factor))
    ties = {
        "test item first": 0 * equal,
        "expected place": equal / 2,
        "test item last": equal,
    }
    rows.append({"factor": factor})
    for rule, lost in ties.items():
        hits = 1 + above + lost <= 10
        rows[-1][rule] = float(hits.double().mean())
ax = plots.axes("factor on the logits", "HR@10")
for rule in ties:
    plots.curve(ax, pd.DataFrame(rows), rule, rule, x="factor")
plots.level(ax, found["BPR"][0][0].metrics((10,))["HR@10"], "logits")
ax.set_xscale("log", base=2)
ax.set_xticks([1, 2, 4, 8, 16, 32], [1, 2, 4, 8, 16, 32])
_ = ax.legend(loc="lower left")

# %% [markdown]
# In {numref}`fig-ch2-ties` not even the expected place repairs a saturated score: the order is lost before anybody
# counts. So `fedlib` ranks logits, and logs the share of tied test items.
#
# ## What any honest table obeys
#
# With one test item a user, $H$ and $N$ are two views of one list of places, and they cannot move independently. A user
# whose place lies beyond $K_1$ and not beyond $K_2$ adds one to $m H$, and to $m N$ something between
# $1/\log_2(1+K_2)$ and $1/\log_2(K_1+\tfrac32)$ (the best half place beyond $K_1$ is $K_1+\tfrac12$). Therefore
#
# $$
# \begin{gathered}
# H@K_1 \le H@K_2, \qquad N@K_1 \le N@K_2, \\
# \frac{H@K}{\log_2(K+1)} \le N@K \le H@K, \\
# \frac{\Delta H}{\log_2(K_2+1)} \le \Delta N \le \frac{\Delta H}{\log_2(K_1+\frac32)} .
# \end{gathered}
# $$ (eq-ch2-bounds)
#
# This holds under either protocol, for any model, and for means over seeds as well, since it is linear.


# %%
def impossible(h, n, ks=(5, 10, 20), slack=1e-9):
    """The steps from one K to the next that no list of places can make."""
    steps = []
    rises = zip(pairwise(ks), np.diff(h), np.diff(n), strict=True)
    for (k1, k2), dh, dn in rises:
        low, high = dh / math.log2(k2 + 1), dh / math.log2(k1 + 1.5)
        if not low - slack <= dn <= high + slack:
            steps.append({"step": f"{k1} to {k2}", "ΔH": dh, "ΔN": dn})
            steps[-1] |= {"lowest ΔN": low, "highest ΔN": high}
    return steps


every_ranking = sum((pair for seeds in found.values() for pair in seeds), ())
for ranking in every_ranking:
    ours = ranking.metrics((5, 10, 20))
    H = np.array([ours[f"HR@{k}"] for k in (5, 10, 20)])
    N = np.array([ours[f"NDCG@{k}"] for k in (5, 10, 20)])
    assert not impossible(H, N)
    assert (H / np.log2([6, 11, 21]) <= N + 1e-9).all()
    assert (N <= H + 1e-9).all()

# %% [markdown]
# ## What leaves the device?
#
# Evaluation is a query to all users, and in a federated system their test items are on their devices. Who computes the
# metric, and what has to be sent for it? Bytes are per user and evaluation:

# %%
sent = pd.DataFrame(
    [
        ("item id, 100 scores", 4 + 4 * 100, "the test item, and the taste"),
        ("the test item's id", 4, "the test item"),
        ("the place", 2, "how well the model fits this user"),
        ("one bit: hit or not", 1, "a little of that, each round anew"),
        ("the bit, flipped at times", 1, "a little of that, deniable"),
        ("the bit in a secure sum", 4, "nothing but the number of hits"),
    ],
    columns=["sent", "bytes", "what the server learns"],
)
sent

# %% [markdown]
# Each device can rank on its own and send only a hit. Two traps remain. Under protocol A somebody draws 99 *untouched*
# items: a server that draws them has been told the history. And a bit a round is sixty bits in sixty rounds.
#
# Secure sums {cite}`bonawitz2017secagg` solve it best. Where there are none, *randomised response* {cite}`warner1965` is
# an old trick. A device tells the truth with probability $q = e^\epsilon/(1+e^\epsilon)$ and lies otherwise, so that its
# answer changes the odds of a hit by the factor $e^\epsilon$ at most. From the share $\bar b$ of reported hits the server
# estimates $\mathrm{HR} = (\bar b - 1 + q)/(2q - 1)$. The price is the standard error:

# %%
bit = found["BPR"][0][0].per_user((10,))["HR@10"].to_numpy()
rows = {"truth": [0, bit.mean(), (bit.var() / m) ** 0.5]}
for epsilon in (4.0, 2.0, 1.0, 0.5):
    q = 1 / (1 + math.exp(-epsilon))
    stream = rng.key(0, f"response {epsilon}")
    lies = rng.uniform(stream, users).numpy() > q
    said = np.where(lies, 1 - bit, bit)
    estimate = (said.mean() - 1 + q) / (2 * q - 1)
    error = (said.var() / m) ** 0.5 / (2 * q - 1)
    rows[f"ε = {epsilon:g}"] = [1 - q, estimate, error]
columns = ["share of lies", "HR@10", "standard error"]
pd.DataFrame(rows, index=columns).T.round(3)

# %% [markdown]
# ## From the blank cell to the package
#
# `place` and `gain` were made for one user. For all users at once, with ties, gaps and several test items:


# %%
def my_places(scores, items):
    """Expected places (m,) of one item a row in scores (m, C)."""
    own = scores.gather(1, items[:, None])
    above = (scores > own).sum(1)
    equal = (scores == own).sum(1) - 1
    return 1 + above + equal.double() / 2


def my_metrics(places, k):
    """HR, recall and NDCG of one user from all its test items' places."""
    top = [r for r in sorted(places)[:k] if r <= k]
    ideal = sum(gain(i, k) for i in range(1, min(k, len(places)) + 1))
    ndcg = sum(gain(r, k) for r in top) / ideal
    return [float(bool(top)), len(top) / len(places), ndcg]


knn = rankers["item-kNN"][0]  # its scores tie
mine = my_places(knn.score(users, candidates), torch.zeros_like(users))
assert mine.tolist() == found["item-kNN"][0][0].ranks.tolist()

scores = knn.score(users)
scores[split.train.users, split.train.items] = -torch.inf
mine = my_places(scores, split.test.items)
assert mine.tolist() == found["item-kNN"][0][1].ranks.tolist()
glue("ch2_knn_ties", found["item-kNN"][0][1].tied_share)

# %%
several = rank_all(ItemKNN().fit(ratio).score, [ratio.train], ratio.test)
theirs = several.per_user((20,))[["HR@20", "Recall@20", "NDCG@20"]]
of_user = pd.Series(several.ranks.numpy()).groupby(several.users.numpy())
mine = np.array([my_metrics(list(places), 20) for _, places in of_user])
np.testing.assert_allclose(mine, theirs.to_numpy(), rtol=1e-12)
glue("ch2_compared", mine.size)

# %% [markdown]
# Places agree exactly under both protocols, though {glue:text}`ch2_knn_ties:.0%` of the test items are tied, and so do
# {glue:text}`ch2_compared:,` metrics of the ratio split, to rounding.
#
# | blank cell | package | what it adds |
# |---|---|---|
# | `my_places` on 100 candidates | `metrics.rank_sampled` | refuses scores that are not finite |
# | `my_places` on all items | `metrics.rank_all` | masks, blocks of bounded memory, a largest K |
# | `my_metrics` | `Ranking.per_user` | more metrics, a table with a row a user |
# | the bootstrap below | `stats.paired_bootstrap` | draws by counter, the same everywhere |
#
# ## Experiment
#
# Six rankers, one training each, two rulers. *Local-only* is FedMF that shares nothing. The settings of FedMF are those
# of [chapter 3](03_federated_loop.ipynb); those of item-kNN and BPR are the package's defaults. All were chosen on
# validation items.
#
# :::{admonition} Predict, then run
# :class: important
# FedMF, BPR and item-kNN lie close together under protocol A. Will their order, and the visible differences, be the same
# under B?
# :::

# %%
RATE = {"synthetic": 200.0, "ml-100k": 1000.0}[name]


def train(model, rounds, seed, **rates):
    """The test places under both protocols after federated training."""
    result = federate(
        split,
        model,
        local=LocalTraining(negatives_from="unobserved", **rates),
        rounds=rounds,
        seed=seed,
        evaluate_every=rounds,
        device="cpu",
    )
    state, backbone = result.state, result.backbone
    return both(lambda part: score_all(state, backbone, part, split.train))


found["local-only"], found["FedMF"] = [], []
for seed in SEEDS:
    alone = FedMF(dim=32).alone()
    places = train(alone, 20, seed, lr=10.0, lr_items=10.0)
    found["local-only"].append(places)
    places = train(FedMF(dim=32), 60, seed, lr=1.0, lr_items=RATE)
    found["FedMF"].append(places)

# %%
METHODS = ["random", "popularity", "local-only", "item-kNN", "FedMF", "BPR"]


def over_seeds(method, ruler, metric):
    """Mean and spread as text."""
    each = [pair[ruler].metrics((10,))[metric] for pair in found[method]]
    mean, spread = mean_and_spread(each)
    return f"{mean:.3f} ± {spread:.3f}" if len(each) > 1 else f"{mean:.3f}"


rows = {}
for ruler, metric in product((0, 1), ("HR@10", "NDCG@10")):
    column = RULERS[ruler], metric
    rows[column] = [over_seeds(method, ruler, metric) for method in METHODS]
size = f"{m:,} users, {n:,} items"
glue("ch2_protocol", f"{name}, {size}, test items {split.test_sha256[:8]}")
pd.DataFrame(rows, index=METHODS)

# %% [markdown]
# *{glue:text}`ch2_protocol` (first digits of their sha256). Leave-one-out by time. A: 99 untouched items, drawn once; B:
# all items outside training. K = 10, equal scores count half, training negatives `"unobserved"`. Mean ± standard
# deviation over seeds 0 to 2; popularity and item-kNN have no seed.*
#
# ### Seeds and users
#
# The ± above is the spread over *seeds*: how much the result depends on the dice of training. It says nothing about
# whether other users would give the same order. For that we resample users. And we resample them in *pairs*, the same
# users for both methods, because a user with an odd last choice is hard for everybody. {numref}`fig-ch2-paired` shows
# what that is worth.


# %%
def per_user(method, ruler=0, metric="HR@10"):
    """Each user's metric, averaged over seeds, (m,)."""
    each = [pair[ruler].per_user((10,))[metric] for pair in found[method]]
    return (sum(each) / len(each)).to_numpy()


def interval(a, b, paired, draws=4_000):
    """95 % interval of the mean of a - b over resampled users."""
    draw, means = torch.arange(draws)[:, None], []
    for x, purpose in ((a, "a"), (b, "a" if paired else "b")):
        who = rng.integers(m, rng.key(0, purpose), draw, users)
        means.append(x[who.numpy()].mean(1))
    return np.quantile(means[0] - means[1], [0.025, 0.975])


a, b = per_user("FedMF"), per_user("item-kNN")
theirs = paired_bootstrap(a, b)
mine = interval(a, b, paired=True)
assert np.abs(mine - [theirs.low, theirs.high]).max() < 0.1 * np.ptp(mine)

# %% mystnb={"image": {"alt": "Six horizontal intervals, two for each of three differences in HR@10. The intervals for FedMF minus popularity lie far right of zero. For FedMF minus item-kNN the paired interval lies just right of zero and the unpaired one contains zero. Both intervals for FedMF minus BPR contain zero. Paired intervals are always narrower."}, "figure": {"caption": "Pairing makes intervals narrower without a single new user, and may decide whether a difference is visible. 95 % bootstrap intervals over users, protocol A, users' HR@10 averaged over seeds.", "name": "fig-ch2-paired"}}
ax = plots.axes("difference in HR@10 under A", "", 7, 3)
OTHERS = ["BPR", "item-kNN", "popularity"]
for paired, shift in ((True, 0.12), (False, -0.12)):
    ends = [interval(a, per_user(x), paired) for x in OTHERS]
    colour, marker = (0, "o") if paired else (1, "s")
    look = {"color": plots.COLOURS[colour], "marker": marker}
    at = np.arange(3) + shift
    lines = ax.plot(np.array(ends).T, [at, at], **look)
    lines[0].set_label("paired" if paired else "unpaired")
ax.axvline(0, color=plots.FAINT, lw=1, marker="")
ax.set_yticks(range(3), [f"FedMF - {other}" for other in OTHERS])
_ = ax.legend(loc="lower right")

# %% [markdown]
# How many users would show a difference $\delta$? With a standard deviation $s$ of the per-user differences, a 95 %
# interval excludes zero four times in five if
#
# $$
# m \ge \Big( \frac{(1.96 + 0.84)\, s}{\delta} \Big)^2 .
# $$ (eq-ch2-users)

# %%
rows = {}
for ruler, other, metric in product((0, 1), OTHERS[:2], ("HR@10", "NDCG@10")):
    a, b = (per_user(x, ruler, metric) for x in ("FedMF", other))
    pair = paired_bootstrap(a, b)
    numbers = [pair.mean_difference, pair.low, pair.high]
    needed = (2.8 * (a - b).std() / 0.01) ** 2
    label = RULERS[ruler], f"FedMF - {other}", metric
    rows[label] = [f"{x:+.3f}" for x in numbers] + [f"{needed:,.0f}"]
for ruler, key in enumerate(("ch2_gap_a", "ch2_gap_b")):
    lead = per_user("FedMF", ruler) - per_user("popularity", ruler)
    glue(key, float(lead.mean()))
columns = ["difference", "low", "high", "users to see .01"]
pd.DataFrame(rows, index=columns).T

# %% [markdown]
# The ruler makes the size: FedMF leads popularity by {glue:text}`ch2_gap_a:.2f` under A and by
# {glue:text}`ch2_gap_b:.2f` under B. It decides what is visible, too. Under A FedMF hits more often than item-kNN; under
# B nothing of that is left. BPR's lead over FedMF in HR is invisible under A and just visible under B. (With eight
# intervals, do not lean on one that just misses zero.) And these data are too small for the third digit: to see one
# hundredth takes thousands of users, for HR more than for NDCG, which is less coarse.
#
# ## Break it
#
# Two slips, each a word long.
#
# - **The wrong range.** Candidates come from `range(number of users)` instead of `range(number of items)`. It happens to
#   the best: the recommender chapter of *Dive into Deep Learning* {cite}`zhang2023d2l` had exactly this in its evaluator.
# - **No mask.** The user's training items stay among the candidates.
#
# :::{admonition} Predict, then run
# :class: important
# On MovieLens 100K the wrong range leaves 943 of 1,682 items. What will the first slip do to HR@10 of all items? And
# whom will the second hurt most: random, popularity or BPR?
# :::

# %%
test = split.test.items
reached = test < m
glue("ch2_unranked", float((~reached).double().mean()))
rows = {}
for method in ("random", "popularity", "item-kNN", "BPR"):
    raw = rankers[method][0].score(users).double()
    masked = raw.clone()
    masked[split.train.users, split.train.items] = -torch.inf
    own, few = masked.gather(1, test[:, None]), masked[:, :m]
    above, equal = above_and_equal(torch.cat([own, few], dim=1))
    narrow = 1 + above + (equal - 1) / 2  # not level with itself
    slips = {
        "right": my_places(masked, test) <= 10,
        "wrong range": (narrow <= 10) & reached,
        "no mask": my_places(raw, test) <= 10,
    }
    rows[method] = [float(hits.double().mean()) for hits in slips.values()]
pd.DataFrame(rows, index=list(slips)).T.round(3)

# %% [markdown]
# The second slip is loud. A good model knows its training items best and puts them first, so the best model falls
# deepest, and only random barely notices. The first slip is silent on these data: {glue:text}`ch2_unranked:.0%` of the
# test items can never be recommended, fewer rivals make up for it, and HR@10 looks perfectly plausible. No look at the
# metric finds it. What finds it is a test of the *candidates*: every item must appear in them, and a random ranker must
# reach {eq}`eq-ch2-chance`.
#
# ## Paper beside ours
#
# What do the three papers of this book say about their protocol? "Not stated" means that we did not find it in the text.

# %%
says = {
    "FedSLLM": ["leave-one-out", "not stated", "5, 10, 20", "not stated"],
    "FedGDVE": ["test share not stated", "not stated", "100", "not stated"],
    "FedMR": ["leave-one-out", "all but training items", "50", "not stated"],
}
rows = ["split", "candidates", "K", "number of seeds"]
pd.DataFrame(says, index=rows)

# %% [markdown]
# **FedMR** {cite}`fedmr` ranks all items. Chance is then $50/(n - |\mathrm{train}_u|)$, which we compute from the sizes
# in its Table 1. Its Table 2 gives the HR@50 of five methods before FedMR is added. The distance from chance is in
# standard errors of a share over that many users:

# %%
claimed = pd.DataFrame(
    {
        "KU": [0.1127, 0.2255, 0.1176, 0.0637, 0.4706],
        "Dance": [0.0782, 0.0676, 0.0221, 0.0252, 0.0682],
        "Food": [0.0696, 0.0820, 0.0548, 0.0327, 0.0696],
        "Movie": [0.0552, 0.0581, 0.0185, 0.0170, 0.0453],
    },
    index=["FedAvg", "FCF", "FedNCF", "PFedRec", "FedRAP"],
)
sizes = pd.DataFrame(
    {
        "users": [204, 10231, 5990, 15908],
        "items": [560, 1676, 1125, 2528],
        "interactions": [3488, 80086, 36482, 111091],
    },
    index=claimed.columns,
)
trained = sizes["interactions"] / sizes["users"] - 2
chance = 50 / (sizes["items"] - trained)
error = (chance * (1 - chance) / sizes["users"]) ** 0.5
glue("ch2_below", int((claimed < chance).sum().sum()))
claimed.loc["chance, computed"] = chance
off = (claimed.loc["PFedRec"] - chance) / error
claimed.loc["PFedRec, errors from chance"] = off
claimed.round(4)

# %% [markdown]
# {glue:text}`ch2_below` of the twenty cells lie below chance. On the 204 users of KU that can be bad luck; on thousands
# of users it hardly can. An *untrained* model is at chance, so something is wrong with such a row, in training or in
# evaluation (scoring another model than the one that was trained does it), and a gain over it says little.
#
# **FedGDVE** {cite}`fedgdve` reports P, R and NDCG at 100. We cannot repeat its split, so this is no comparison of
# methods, only of sizes:

# %%
rows = {
    "claimed, FedMF": [0.0581, 0.3784, 0.1787],
    "claimed, FedGDVE": [0.0850, 0.5225, 0.3115],
    "claimed, NGCF centralised": [0.0864, 0.5368, 0.3252],
}
for label in ("random", "popularity", "item-kNN"):
    ours = shown.loc[f"{name}, {label}", ["precision", "recall", "NDCG"]]
    rows[f"measured, {label}"] = ours.round(4).tolist()
pd.DataFrame(rows, index=["P@100", "R@100", "NDCG@100"]).T

# %% [markdown]
# On our split the same list for everybody has about the precision of the best federated row, though not its recall and
# NDCG. Whether that would be so on the paper's split nobody can say: a popularity row belongs in such a table.
#
# **FedSLLM** {cite}`fedsllm` does not state its candidates. Its weakest rows betray them. In percent:

# %%
figures = [4.94, 10.33, 20.57, 2.83, 4.56, 7.12]
rows = {"claimed, FedMF, Random, Industrial": figures}
H = [100 * k / 100 for k in (5, 10, 20)]
N = [sum(gain(r, k) for r in range(1, k + 1)) for k in (5, 10, 20)]
rows["chance among 100"] = H + N
columns = [f"{what}@{k}" for what in "HN" for k in (5, 10, 20)]
pd.DataFrame(rows, index=columns).T.round(2)

# %% [markdown]
# So we read it as protocol A. Now the audit: all 36 rows for ML-100K, H from its Table 2 and N from its Table 6, in
# percent. Printed digits are rounded, so we allow a slack of two units in the last one.

# %%
FIGURES = """
40.40 55.57 73.38 28.95 33.88 38.41 39.45 51.75 57.90 26.54 30.54 32.12
39.02 51.75 58.32 27.33 31.47 33.14 38.49 51.01 58.75 26.72 30.79 32.74
39.38 45.32 67.41 26.25 30.30 31.39 30.01 44.86 67.87 20.73 25.53 31.27
42.74 58.64 75.72 31.76 36.93 41.27 54.08 61.93 74.66 35.08 37.73 40.99
60.66 65.22 75.08 39.78 41.36 43.91 18.24 27.78 41.78 12.36 15.37 18.90
07.64 14.42 26.51 04.53 06.69 09.72 08.80 15.06 24.60 05.33 07.35 09.75
08.38 16.01 26.19 05.01 07.45 10.00 08.06 16.33 26.09 04.92 07.56 10.00
28.31 42.84 62.25 15.03 19.87 24.72 06.68 12.62 24.81 04.02 05.91 08.95
32.45 46.13 66.07 18.05 22.60 27.59 31.18 43.48 64.26 17.21 21.30 26.48
42.52 58.64 75.82 31.35 36.60 40.95 40.93 56.42 73.06 30.51 35.48 39.69
38.28 51.75 57.79 25.13 29.55 31.11 37.75 48.36 56.42 25.88 29.32 31.38
37.22 49.73 58.96 25.55 29.70 32.01 65.96 69.88 80.91 44.81 45.44 48.30
25.13 38.07 53.87 17.09 21.26 25.25 68.08 70.41 81.34 43.77 44.58 47.42
73.49 74.13 82.82 50.73 50.95 53.23 41.68 57.48 75.61 30.56 35.69 40.28
38.81 53.45 73.91 28.04 34.69 38.97 38.28 54.29 71.16 27.78 32.69 37.17
38.39 54.29 72.85 28.01 32.93 37.64 35.42 49.84 72.75 25.49 33.13 37.83
38.49 56.84 67.44 28.74 30.15 34.61 39.34 56.95 74.55 28.92 34.36 38.89
40.08 57.16 74.97 29.19 34.86 39.26 40.72 56.31 74.55 28.71 34.49 39.12
"""

# %%
BACKBONES = ["FedNCF", "FedMF", "PFedRec", "FedPerGNN"]
SELECTORS = ["Base", "Random", "Entropy", "Margin", "Least"]
SELECTORS += ["FedSelect", "FALE", "Ours-Qwen", "Ours-LLaMa"]
names = [(a, b) for a in BACKBONES for b in SELECTORS]
figures = np.array(FIGURES.split(), dtype=float).reshape(36, 6)
slips = [
    {"backbone": a, "selection": b, **step}
    for (a, b), row in zip(names, figures, strict=True)
    for step in impossible(row[:3], row[3:], slack=0.02)
]
glue("ch2_slips", len(slips))
glue("ch2_steps", 2 * len(figures))
pd.DataFrame(slips).round(2)

# %% [markdown]
# {glue:text}`ch2_slips` of {glue:text}`ch2_steps` steps are impossible for *one* ranking; the last two columns say what
# would be possible. Here none is in a row of the authors' own method; on their other data sets some are, and in one row H
# falls as K grows. That is no sign of bad faith. The appendix says that the best result over configurations is reported.
# If each *metric* takes its best from another run, $H$ and $N$ of a row need not fit, and slips of the pen do the rest.
# What follows is modest: such a row describes no single model, and a difference of two such rows is not that of two
# models. Choose one configuration on validation, and report all its metrics.
#
# ## Exercises

# %% [markdown]
# :::{exercise} ★ Warm-up: chance
# :label: ex-ch2-chance
# Write the expected NDCG@K of a ranker that guesses among $C$ candidates, and check it for K = 10 and $C = 100$.
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# Every place has the probability $1/C$, and only the first $K$ are worth something.
#
# </details>


# %% tags=["exercise"]
def chance_ndcg(k, candidates):
    return None  # your code


uniform = torch.arange(1.0, 101)  # every place of a hundred once
ranking = Ranking(uniform, torch.arange(100), uniform < 0, 100)
check(chance_ndcg(10, 100), ranking.metrics((10,))["NDCG@10"])

# %% [markdown]
# :::{solution-start} ex-ch2-chance
# :label: sol-ch2-chance
# :class: dropdown
# :::
#
# It is the second half of {eq}`eq-ch2-chance`. The check takes another way: it lets each place occur once.


# %% tags=["solution"]
def chance_ndcg(k, candidates):
    return sum(1 / math.log2(1 + r) for r in range(1, k + 1)) / candidates


uniform = torch.arange(1.0, 101)  # every place of a hundred once
ranking = Ranking(uniform, torch.arange(100), uniform < 0, 100)
check(chance_ndcg(10, 100), ranking.metrics((10,))["NDCG@10"])

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} ★★ Build: a metric that survives sampling
# :label: ex-ch2-auc
# AUC is the share of rivals that the test item beats, a tie counting half. Write it as a function of the places and the
# number of rivals. Then compare its mean among 99 drawn rivals with its mean among all untouched ones. Why do they
# agree, where HR@10 did not?
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# At place 1 it is 1, at the last place 0, and it falls by the same amount from place to place.
#
# </details>


# %% tags=["exercise"]
def auc(places, rivals):
    """Share of rivals beaten, from places and numbers of rivals."""
    return None  # your code


by_hand = auc(torch.tensor([1.0, 50.5, 100.0]), 99)
check(None if by_hand is None else by_hand.tolist(), [1.0, 0.5, 0.0])
sampled = auc(found["BPR"][0][0].ranks, 99)
full = auc(torch.tensor(exact), torch.tensor(untouched))
if full is not None:
    check(float(sampled.mean()), float(full.mean()), tolerance=0.01)

# %% [markdown]
# :::{solution-start} ex-ch2-auc
# :label: sol-ch2-auc
# :class: dropdown
# :::
#
# AUC is *linear* in the place, and a random sample of rivals keeps the expected share of better ones. HR@10 and NDCG
# are not linear, so the mean of their values is not the value at the mean. {cite:t}`krichene2020sampled` show that with
# ever fewer rivals all metrics turn into AUC.


# %% tags=["solution"]
def auc(places, rivals):
    """Share of rivals beaten, from places and numbers of rivals."""
    return 1 - (places - 1) / rivals


by_hand = auc(torch.tensor([1.0, 50.5, 100.0]), 99)
check(None if by_hand is None else by_hand.tolist(), [1.0, 0.5, 0.0])
sampled = auc(found["BPR"][0][0].ranks, 99)
full = auc(torch.tensor(exact), torch.tensor(untouched))
if full is not None:
    check(float(sampled.mean()), float(full.mean()), tolerance=0.01)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} ★★★ Research: exact metrics from sampled places
# :label: ex-ch2-em
# Can sampled places tell the exact HR@10? {cite:t}`jin2021estimating` estimate the shares $\pi_R$ of all exact places
# $R$ by maximum likelihood. Given $R$, the sampled place minus one is about binomial with 99 trials and probability
# $(R-1)/(N-1)$. Write one step of expectation-maximisation, then judge the estimates for three rankers against the exact
# HR@10 and against simple stretching of the sampled place.
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# Bayes gives the posterior of $R$ for each sampled place: $\pi_R L_{sR}$, scaled to sum to one over $R$. The new $\pi$ is
# the mean posterior over users.
#
# </details>


# %% tags=["exercise"]
def em_step(share, likelihood, counts):
    """New shares (N,) from old ones, L (100, N) and counts (100,)."""
    return None  # your code


tiny = np.array([[0.8, 0.2], [0.2, 0.8]])
step = em_step(np.array([0.5, 0.5]), tiny, np.array([3, 1]))
check(None if step is None else step.tolist(), [0.65, 0.35])

# %% [markdown]
# :::{solution-start} ex-ch2-em
# :label: sol-ch2-em
# :class: dropdown
# :::


# %% tags=["solution"]
def em_step(share, likelihood, counts):
    """New shares (N,) from old ones, L (100, N) and counts (100,)."""
    posterior = share * likelihood
    posterior = posterior / posterior.sum(1, keepdims=True)
    return counts @ posterior / counts.sum()


tiny = np.array([[0.8, 0.2], [0.2, 0.8]])
step = em_step(np.array([0.5, 0.5]), tiny, np.array([3, 1]))
check(None if step is None else step.tolist(), [0.65, 0.35])

# %%
N = 1 + int(np.median(untouched))
likely = binom.pmf(np.arange(100)[:, None], 99, np.arange(N) / (N - 1))
rows = {}
for method in ("popularity", "item-kNN", "BPR"):
    place_ = np.floor(found[method][0][0].ranks.numpy()).astype(int)
    counts = np.bincount(place_ - 1, minlength=100)
    share = np.full(N, 1 / N)
    for _ in range(300):
        share = em_step(share, likely, counts)
    true = rank_all(rankers[method][0].score, touched, split.test)
    rows[method] = {
        "exact HR@10": true.metrics((10,))["HR@10"],
        "EM": share[:10].sum(),
        "stretched": np.mean(1 + (N - 1) * (place_ - 1) / 99 <= 10),
        "sampled HR@10": np.mean(place_ <= 10),
    }
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# Stretching counts every sampled first place as a hit. EM knows that many of them are not, and comes closer from the same
# places. But look again with another draw or another K before you believe the third digit: among 99 rivals the exact
# places 1 and 10 look almost alike, so the data hardly speak about the top. Ranking all items of these data takes a
# fraction of a second. Sample where you must, and correct where you sampled.
#
# :::{solution-end}
# :::
#
# ## Quiz
#
# **1.** A paper reports HR@10 of .12 on MovieLens 100K. Is that good?
#
# <details class="option"><summary>no, popularity alone reaches .4</summary>
#
# **No.** It does among 100 candidates. The paper may have ranked all items, where popularity is far below .12.
#
# </details>
# <details class="option"><summary>it depends on the candidates</summary>
#
# **Right.** Among 100 it is close to chance; among all items it is close to the best in our table.
#
# </details>
# <details class="option"><summary>yes, twelve times chance</summary>
#
# **No.** Chance is .10 in one protocol and below .01 in the other, so nobody can say before the protocol is known.
#
# </details>
#
# **2.** Look at {numref}`fig-ch2-order`. You want a list of ten and tune by the sampled HR@10. What do you get?
#
# <details class="option"><summary>the best list of ten, with some noise</summary>
#
# **No.** At K = 10 the correlation is about zero, so the choice is close to a lottery for that purpose.
#
# </details>
# <details class="option"><summary>a setting that is good at finding the right tenth of the catalogue</summary>
#
# **Right.** The curve peaks at K = 150, about a tenth of the items.
#
# </details>
# <details class="option"><summary>the worst list of ten</summary>
#
# **No.** A correlation near zero is no correlation of minus one.
#
# </details>
#
# **3.** Two methods differ by .02 in HR@10, and each has a standard deviation of .003 over five seeds. Is the better one
# better?
#
# <details class="option"><summary>yes, the difference is many standard deviations</summary>
#
# **No.** Seeds tell about training. With some hundred users the paired interval over users may well contain zero.
#
# </details>
# <details class="option"><summary>on these users yes; for others look at the paired interval over users</summary>
#
# **Right.** Seeds and users are two sources of doubt, and both have to be reported.
#
# </details>
# <details class="option"><summary>no, five seeds are never enough</summary>
#
# **No.** With such a spread five are plenty; it is the users who are few.
#
# </details>
#
# **4.** A table says H@5 = 70, H@10 = 74, N@5 = 45, N@10 = 45.2 (in percent, one test item each). What do you conclude?
#
# <details class="option"><summary>the new hits are all at place 10</summary>
#
# **No.** Even then N would rise by $4/\log_2 11$, more than one point.
#
# </details>
# <details class="option"><summary>H and N do not belong to the same ranking</summary>
#
# **Right.** The step of N is below the lower bound of {eq}`eq-ch2-bounds`.
#
# </details>
# <details class="option"><summary>the candidates were sampled</summary>
#
# **No.** The bounds hold for any candidates.
#
# </details>
#
# **5.** A federated server wants HR@10 and nothing else. What should a device send?
#
# <details class="option"><summary>its test item, since it is only one</summary>
#
# **No.** It is the latest thing the user chose, and the server can compute the hit only if it knows scores as well.
#
# </details>
# <details class="option"><summary>its place, since a place is only a number</summary>
#
# **No.** A place tells how well the model fits this one user, in every round; HR@10 needs only a bit of it.
#
# </details>
# <details class="option"><summary>a hit or a miss, inside a secure sum</summary>
#
# **Right.** Then the server learns the number of hits, which is what it asked for.
#
# </details>
#
# ## Summary
#
# - A metric means nothing without its protocol: split, candidates, K, ties, negatives, seeds, and a checksum of the test
#   items. Chance belongs beside it.
# - A sampled HR@10 sorts methods like HR at about a tenth of the catalogue. Rank all items where you can.
# - Rank logits and take the expected place; a tie rule can turn a constant into a champion.
# - Seeds show the dice of training, users the doubt about the order. Pair the users.
# - $\Delta N$ is tied to $\Delta H$. Check it in your own tables first.
#
# **What next?** [Chapter 3](03_federated_loop.ipynb) builds the federated loop that stood here as a black box. The
# [ambiguity log](../book/ambiguity.md) has the decisions on ties and negatives.
#
# **Further reading.** {cite:t}`krichene2020sampled` is the paper to read after this chapter; its toy example of three
# recommenders is worth redoing. {cite:t}`ji2023leakage` follow the leak in time through four data sets.
# {cite:t}`jin2021estimating` recover exact metrics from sampled places. {cite:t}`he2017ncf` made protocol A popular.
