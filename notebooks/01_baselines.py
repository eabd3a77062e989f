# %% [markdown]
# # Implicit feedback and honest baselines
#
# By the end of this chapter you have written five recommenders, from a random one to matrix factorisation, and you
# know what each of them is good for. Every later result in this book is measured against them.

# %% cellView="form" tags=["setup", "hide-input"]
# @title Set-up: run this cell first
import importlib.util

if importlib.util.find_spec("fedlib") is None:
    raise ModuleNotFoundError("fedlib is missing: pip install it from a copy of its repository")

from fedlib import book

PROFILE = book.start()

# %% tags=["remove-cell"]
from fedlib.book import plots

READERS, BOOKS = ["Ada", "Ben", "Cem", "Dia", "Eva"], list("ABCDEF")
TRUTH = ["##.#.x", "##ox..", "###..o", "#x#.o.", "x.#o##"]
BLUE, ORANGE, GREEN = plots.COLOURS[:3]
HOLLOW = {"facecolors": "none", "edgecolors": ORANGE, "linewidths": 2}
LOOKS = {
    "#": ("chosen", "s", {"color": BLUE, "s": 330}),
    "o": ("not chosen yet, will be liked", "o", HOLLOW | {"s": 170}),
    "x": ("seen and passed over", "x", {"color": plots.INK, "s": 90}),
    ".": ("never seen", ".", {"color": plots.FAINT, "s": 30}),
}


def cells_with(code):
    """Columns and rows of the cells of TRUTH that hold this letter."""
    rows = range(len(TRUTH))
    return zip(
        *((j, i) for i in rows for j in range(6) if TRUTH[i][j] == code),
        strict=True,
    )


# %% tags=["hide-input"] mystnb={"image": {"alt": "Two grids of five readers by six books. In the left one, the log, thirteen cells are filled squares and all others are empty. In the right one the empty cells carry three different marks: a ring for a book that will be liked, a cross for one that was seen and passed over, a small dot for one that was never seen."}, "figure": {"caption": "A log holds choices and nothing else. Its empty cells hide three different things, and a recommender is a way to guess which of them will turn into a choice.", "name": "fig-ch1-blanks"}}
ax = plots.axes("", "", 8.0, 3.9)
for code, (label, marker, look) in LOOKS.items():
    columns, rows = map(list, cells_with(code))
    shown = [j + 8.2 for j in columns]
    ax.scatter(shown, rows, marker=marker, label=label, **look)
    if code == "#":
        ax.scatter(columns, rows, marker=marker, **look)
for left, title in [(0, "what the log says"), (8.2, "what happened")]:
    ax.text(left + 2.5, -1.6, title, ha="center", weight="bold")
    for j, name in enumerate(BOOKS):
        ax.text(left + j, -0.8, name, ha="center", color=plots.FAINT)
for i, name in enumerate(READERS):
    ax.text(-0.8, i, name, ha="right", va="center")
ax.set(xlim=(-2.2, 14), ylim=(4.7, -2.1))
below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
ax.legend(ncols=2, markerscale=0.7, **below)
_ = ax.axis("off")

# %% [markdown]
# :::{admonition} At a glance
# :class: tip
# - **You will** compute similarities and a training step by hand, write five rankers in plain PyTorch, check them
#   against the package, measure them with intervals, and make two of them look better or worse than they are.
# - **You need** Python and vectors; PyTorch tensors as far as `a + b` and `a @ b`. The
#   [introduction](../book/intro.md) says where the book is going.
# - **Data** MovieLens 100K {cite}`harper2015movielens`, for research use and not redistributed here; the made-up book
#   shop `synthetic`, which is free of any terms.
# - **Sources** item neighbours {cite}`sarwar2001itemknn`, section 3; BPR {cite}`rendle2009bpr`, section 4; pointwise
#   training with sampled negatives {cite}`he2017ncf`, equation 7.
# :::
#
# ## Entry check
#
# **1.** Ada has not bought book C. What does that tell us?
#
# <details class="option"><summary>she does not like it</summary>
#
# **No.** That is one explanation; she may never have come across it.
#
# </details>
# <details class="option"><summary>she has not seen it</summary>
#
# **No.** That is one explanation; she may have seen it and left it on the shelf.
#
# </details>
# <details class="option"><summary>only that she has not bought it</summary>
#
# **Right.** A log of choices cannot tell a dislike from a book nobody showed her.
#
# </details>
#
# **2.** What is the cosine of the angle between $(1, 1, 0)$ and $(1, 0, 0)$?
#
# <details class="option"><summary>½</summary>
#
# **No.** The inner product is 1, but the lengths are $\sqrt2$ and 1, so their product is not 2.
#
# </details>
# <details class="option"><summary>1/√2</summary>
#
# **Right.** Inner product 1, divided by the product $\sqrt2 \cdot 1$ of the lengths.
#
# </details>
# <details class="option"><summary>1</summary>
#
# **No.** That would need two vectors of the same direction.
#
# </details>
#
# **3.** Where is the function $-\ln \sigma(x)$ with $\sigma(x) = 1/(1+e^{-x})$ close to zero?
#
# <details class="option"><summary>for large positive x</summary>
#
# **Right.** There $\sigma(x)$ is almost 1 and its logarithm almost 0. As a loss it asks for large $x$.
#
# </details>
# <details class="option"><summary>at x = 0</summary>
#
# **No.** There $\sigma(0) = \tfrac12$, and the value is $\ln 2$.
#
# </details>
# <details class="option"><summary>for large negative x</summary>
#
# **No.** There $\sigma(x)$ is almost 0, and the value grows like $-x$.
#
# </details>
#
# ## What we see and what we do not
#
# Ratings are rare. What a shop has in plenty is a log: who took what, and when. Such data are called *implicit
# feedback* {cite}`hu2008implicit`, because nobody was asked for an opinion. {numref}`fig-ch1-blanks` shows the trouble
# with them. A filled cell is a choice. An empty one is a dislike, or a book nobody ever showed this reader, or the
# next thing they will love. The log does not say which.
#
# So the question is not "what will Ben's rating be" but "in which order should Ben's empty cells come". A *ranker* is
# any rule that gives each reader $u$ and book $i$ a score $x_{ui}$. Only the order of the scores counts.
#
# To be chosen, a thing must first be seen. Popular items get shown more, are chosen more, and so stay popular. We cannot
# take this *exposure* out of a log, but we can look at its trace.

# %%
from dataclasses import dataclass, replace
from math import log2

import pandas as pd
import torch
from torch.nn.functional import softplus

from fedlib import FedMF, LocalTraining, federate, load, rng
from fedlib.data.negatives import NegativeSampler
from fedlib.evaluation.metrics import hit_ratio, ndcg

torch.set_num_threads(1)  # the tensors are small
name = "synthetic" if PROFILE == "smoke" else "ml-100k"
split = load(name).leave_one_out(seed=0)  # two items a user held out
m, n = split.data.n_users, split.data.n_items

chosen_by = torch.bincount(split.train.items, minlength=n)  # (n,)
falling = chosen_by.sort(descending=True).values
book.glue("ch1_head", float(falling[: n // 5].sum() / falling.sum()))
book.glue("ch1_rare", float((chosen_by < 10).float().mean()))
print(split)

# %% mystnb={"image": {"alt": "Two falling curves on a logarithmic axis. The curve of the items starts near 500 choices and falls to one within the catalogue, steepest at the end. The curve of the users starts near 700 choices and ends just below 20."}, "figure": {"caption": "The long tail: a few items collect most choices, and many have hardly any. Users differ as much, except that everybody in this collection has at least twenty choices, two of them held out. Training items of the experiment's data.", "name": "fig-ch1-tail"}}
ax = plots.axes("share of the items or users, busiest first", "choices")
for label, counts in [
    ("of an item", chosen_by),
    ("by a user", split.train.counts),
]:
    ordered = counts.sort(descending=True).values
    share = torch.arange(1, len(counts) + 1) / len(counts)
    frame = pd.DataFrame({"share": share, "choices": ordered})
    plots.curve(ax, frame, "choices", label, x="share")
ax.set_yscale("log")
_ = ax.legend()

# %% [markdown]
# A fifth of the catalogue holds {glue:text}`ch1_head:.0%` of the choices, and {glue:text}`ch1_rare:.0%` of the items
# were chosen by fewer than ten people ({numref}`fig-ch1-tail`). Anybody who recommends the head to everybody is right
# quite often, without knowing anything about anyone.
#
# That is why a table of results needs simple rows. A *baseline* is a promise to the reader: here is what you would get
# for free. The promise is kept only if the baseline got the same care as the method beside it. "Break it"
# comes back to that.
#
# ## Three ideas by hand
#
# Five readers, six books, thirteen choices, as a matrix $X$ with a one for each choice:

# %%
CHOSEN = ["AB.D..", "AB....", "ABC...", "A.C...", "..C.EF"]
five = torch.tensor([[c != "." for c in row] for row in CHOSEN]).float()
pd.DataFrame(five.int().numpy(), READERS, BOOKS).replace(0, "")

# %% [markdown]
# **Popularity** scores a book by its column sum: A has 4, B and C have 3, the others 1.
#
# **Item neighbours** ask which books were chosen by the same people. With $U_i$ the readers of book $i$ and $I_u$ the
# books of reader $u$,
#
# $$
# \begin{aligned}
# \mathrm{sim}(i, j) &= \frac{|U_i \cap U_j|}{\sqrt{|U_i|\,|U_j|} + s}, \\
# x_{ui} &= \sum_{j \in I_u,\ j \in N(i)} \mathrm{sim}(i, j) .
# \end{aligned}
# $$ (eq-ch1-similarity)
#
# With $s = 0$ this is the cosine of two columns of $X$. $N(i)$ are the books most similar to $i$, other than $i$; on
# six books we take all. The number $s$, the *shrinkage*, is worth a look of its own.
#
# :::{admonition} Predict, then run
# :class: important
# Ben has chosen A and B. What does popularity recommend to him? And item neighbours with $s = 0$? You need four
# similarities: of C and of D, with A and with B. Then try $s = 2$.
# :::


# %%
def similarity(X, shrinkage):
    """The first half of the equation: (n, n), zero on the diagonal."""
    together = X.T @ X  # readers of both
    size = together.diag().sqrt()
    found = together / (size[:, None] * size + shrinkage)
    return found.nan_to_num().fill_diagonal_(0)  # 0/0: nobody chose it


cosine = similarity(five, shrinkage=0)
pencil = 3 / 12**0.5, 2 / 12**0.5  # A with B, A with C
torch.testing.assert_close(cosine[0, [1, 2]], torch.tensor(pencil))

ben = pd.DataFrame(index=list("CDEF"))
ben["popularity"] = five.sum(0)[2:].int()
for s in (0, 2):
    ben[f"neighbours, s = {s}"] = (five @ similarity(five, s))[1, 2:]
assert list(ben.idxmax()) == ["C", "D", "C"]
ben.round(3)

# %% mystnb={"image": {"alt": "A six by six table of cosines. The largest value, one, stands at the pair of books E and F. The pair A and B has 0.87. D has 0.50 with A and 0.58 with B. The diagonal is zero."}, "figure": {"caption": "The only perfect similarity, of E and F, rests on a single reader. The pair A and B, which three readers chose together, gets less. Shrinkage is there to put that right.", "name": "fig-ch1-cosine"}}
ax = plots.axes("", "", 5.2, 4.2)
plots.matrix(ax, cosine, BOOKS, BOOKS)

# %% [markdown]
# Popularity says C, neighbours say D, and that advice comes from Ada alone: nobody else ever chose D. With $s = 2$ the
# rule wants more than one witness and says C. {numref}`fig-ch1-cosine` shows the same weakness at its worst. Similarity
# found in few data is mostly luck, and $s$, a number of readers, holds it back.
#
# **A training step.** The third idea gives reader $u$ a vector $w_u$ and book $i$ a vector $h_i$, with
# $x_{ui} = w_u^\top h_i$. BPR {cite}`rendle2009bpr` reads a choice as a comparison: Ada took A, she did not take F, so
# A should score above F. For a chosen $i$ and another book $j$ it minimises
#
# $$
# -\ln \sigma(x_{ui} - x_{uj}) .
# $$ (eq-ch1-bpr)
#
# With $\delta = \sigma(x_{uj} - x_{ui})$, which is near 1 where the order is wrong and near 0 where it is right, a
# step of size $\eta$ against the gradient is
#
# $$
# \begin{aligned}
# w_u &\leftarrow w_u + \eta\,\delta\,(h_i - h_j), \\
# h_i &\leftarrow h_i + \eta\,\delta\, w_u, \qquad h_j \leftarrow h_j - \eta\,\delta\, w_u ,
# \end{aligned}
# $$ (eq-ch1-step)
#
# all three computed from the old values.
#
# :::{admonition} Predict, then run
# :class: important
# Ada has $w = (1, 1)$, book A has $h_i = (1, 0)$ and book F has $h_j = (0, 1)$. What is the difference of the two
# scores before a step with $\eta = 1$, and after it?
# :::


# %%
def step(w, h_i, h_j, lr=1.0):
    delta = torch.sigmoid(w @ h_j - w @ h_i)
    up = lr * delta
    return w + up * (h_i - h_j), h_i + up * w, h_j - up * w


old = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
w, h_i, h_j = step(*old)
print("before", float(old[0] @ (old[1] - old[2])))
print("after ", float(w @ (h_i - h_j)))
assert w.tolist() == h_i.tolist() == [1.5, 0.5]  # the pencil
assert h_j.tolist() == [-0.5, 0.5]

leaf = old.clone().requires_grad_()
softplus(-(leaf[0] @ (leaf[1] - leaf[2]))).backward()  # -ln sigma(x)
torch.testing.assert_close(torch.stack([w, h_i, h_j]), old - leaf.grad)

# %% [markdown]
# From 0 to 3: one step and Ada's order is settled.
#
# ## Five rankers in plain PyTorch
#
# Now on more data: the first forty readers of the made-up shop. Two of each reader's books are held out, the last for
# the test and the last but one for validation.

# %%
forty = load("synthetic").keep_users(torch.arange(40), "forty readers")
forty = forty.leave_one_out(seed=0)
print(forty)


def matrix(split):
    """The training choices as zeros and ones, (m, n)."""
    X = torch.zeros(split.data.n_users, split.data.n_items)
    X[split.train.users, split.train.items] = 1
    return X


# %% [markdown]
# All our rankers have one form: from the training choices to a matrix of scores $(m, n)$. **Random** knows nothing.
# **Popularity** repeats one row. `rng.key` names a stream of random numbers; a draw depends on its name and counters
# only, so your program and the package can draw the same numbers.


# %%
def random_scores(m, n, seed=0):
    stream = rng.key(seed, "chance ranker")
    return rng.uniform(stream, torch.arange(m)[:, None], torch.arange(n))


def popularity_scores(X):
    return X.sum(0).expand(X.shape)


def neighbour_scores(X, neighbours, shrinkage):
    sim = similarity(X, shrinkage)
    best = sim.topk(neighbours, dim=1)  # N(i), row by row
    kept = torch.zeros_like(sim).scatter(1, best.indices, best.values)
    return X @ kept.T


X = matrix(forty)
tables = {
    "random": random_scores(*X.shape),
    "popularity": popularity_scores(X),
    "item-kNN": neighbour_scores(X, neighbours=10, shrinkage=10.0),
}

# %% [markdown]
# **Matrix factorisation** learns $w_u$ and $h_i$. But from what, if the log has only ones? From comparisons with books
# that were not chosen, drawn at random: *negatives*. They may be wrong, since a drawn book can be tomorrow's choice.
# In a long catalogue that is rare.
#
# Two losses are common. The **pointwise** one asks of each score alone whether it is on the right side of zero. For a
# choice $(u, i)$ and $k$ negatives $j$ it is
#
# $$
# \frac{1}{1 + k} \Big[ -\ln \sigma(x_{ui}) - \sum_j \ln \sigma(-x_{uj}) \Big] ,
# $$ (eq-ch1-pointwise)
#
# the logistic loss of {cite:t}`he2017ncf`. The **pairwise** one is {eq}`eq-ch1-bpr`. Both get a penalty
# $\tfrac\lambda2 (\lVert w_u \rVert^2 + \lVert h_i \rVert^2 + \lVert h_j \rVert^2)$, which keeps vectors of rare items
# from growing on luck.
#
# :::{admonition} Predict, then run
# :class: important
# Add 10 to all scores of one user. Which of the two losses changes? Which changes the ranking?
# :::


# %%
def pointwise(own, others):
    """Scores of choices (B, 1) and of their negatives (B, k)."""
    total = softplus(-own).sum() + softplus(others).sum()
    return total / (own.numel() + others.numel())


def pairwise(own, others):
    return softplus(others - own).mean()  # -ln sigma(own - others)


own, others = torch.tensor([[2.0]]), torch.tensor([[1.0, -1.0]])
for loss in (pointwise, pairwise):
    before, after = loss(own, others), loss(own + 10, others + 10)
    print(f"{loss.__name__}: {before:.3f}, with 10 more {after:.3f}")
assert torch.allclose(pairwise(own, others), pairwise(own + 10, others + 10))

# %% [markdown]
# A constant changes no ranking, and only the pairwise loss knows that.
#
# Training is the same for both. In every epoch each choice gets new negatives, the choices are shuffled and cut into
# batches, and Adam {cite}`kingma2015adam` takes one step a batch. After every epoch `train` hands out the vectors.


# %%
def start(what, rows, seed, d=32):
    row, column = torch.arange(rows)[:, None], torch.arange(d)
    values = rng.normal(rng.key(seed, f"bpr {what}"), row, column)
    return (0.1 * values).float().requires_grad_()


def train(split, loss, k, epochs, l2, lr=0.003, seed=0):
    """Yield W (m, d) and H (n, d) after each epoch."""
    users, items, n = split.train.users, split.train.items, split.data.n_items
    W, H = start("users", split.data.n_users, seed), start("items", n, seed)
    adam = torch.optim.Adam([W, H], lr=lr)
    sampler = NegativeSampler(split.train, n)  # outside the training items
    count = torch.arange(len(items))[:, None] * k + torch.arange(k)
    for epoch in range(epochs):
        stream = rng.key(seed, "bpr negatives", epoch)
        drawn = sampler.draw(stream, users[:, None], count)  # (nnz, k)
        order = rng.permutation(len(items), rng.key(seed, "bpr order", epoch))
        for b in order.split(1024):
            w, i, j = W[users[b], None], H[items[b], None], H[drawn[b]]
            penalty = sum(v.square().sum(-1).mean() for v in (w, i, j))
            value = loss((w * i).sum(-1), (w * j).sum(-1))
            adam.zero_grad()
            (value + l2 / 2 * penalty).backward()
            adam.step()
        yield W.detach(), H.detach()


# %%
for label, loss, k in [("MF", pointwise, 4), ("BPR", pairwise, 1)]:
    *_, (W, H) = train(forty, loss, k, epochs=20, l2=0.01)
    tables[label] = W @ H.T
first = pd.DataFrame(index=range(1, 6))
for label, table in tables.items():
    new = table[0].masked_fill(X[0] > 0, -torch.inf)
    first[label] = new.topk(5).indices
first

# %% [markdown]
# Five opinions on what the first reader should see next, by place, as numbers of books. What the reader has is left out.
#
# ## From the blank cell to the package
#
# In `fedlib` a ranker has `fit(split)` and `score(users, items)`. Do they compute what you wrote?

# %%
from fedlib.centralized import BPR, Chance, ItemKNN, Popularity, evaluate

everybody = torch.arange(40)
package = {
    "random": Chance(seed=0),
    "popularity": Popularity(),
    "item-kNN": ItemKNN(neighbours=10, shrinkage=10.0),
    "BPR": BPR(epochs=20, batch=1024, lr=0.003, l2=0.01),
}
apart = {}
for label, ranker in package.items():
    theirs = ranker.fit(forty).score(everybody)
    apart[label] = float((tables[label] - theirs).abs().max())
assert apart["random"] == apart["popularity"] == 0
assert apart["item-kNN"] < 1e-6 and apart["BPR"] < 1e-5

kept = torch.from_numpy(package["item-kNN"].similarity.toarray()).T
full = similarity(X, 10.0)
assert torch.equal(kept[kept > 0], full[kept > 0])  # to the last bit
assert ((kept > 0).sum(1) <= 10).all()
pd.Series(apart, name="largest difference").map("{:.0e}".format).to_frame()

# %% [markdown]
# Random and popularity agree exactly, and so do the similarities; sums taken in another order differ by rounding. The
# pointwise factorisation is your own.
#
# | blank cell | package | what it adds |
# |---|---|---|
# | `random_scores` | `Chance` | |
# | `popularity_scores` | `Popularity` | |
# | `similarity`, `neighbour_scores` | `ItemKNN` | sparse, in blocks, so that $n \times n$ never exists |
# | `train(..., pairwise, 1)` | `BPR` | |
#
# ## What leaves the device?
#
# Everything. All five rankers were trained where the whole log lay in plain. On the experiment's data the server holds:

# %%
events = len(split.data.interactions.items)
held = {
    "log: user, item, time": (events * 3 * 8, "operator", "read it"),
    "item counts": (n * 4, "all: bestsellers", "small crowds"),
    "item similarities": (n * 10 * 8, "all: also bought", "watch changes"),
    "user vectors": (m * 32 * 4, "operator", "rank all items"),
    "item vectors": (n * 32 * 4, "operator, partners", "rare items"),
}
columns = ["bytes", "who can read it", "way to a person"]
pd.DataFrame(held, columns).T

# %% [markdown]
# "Operator" includes its staff, its intruders and any court. The derived tables look harmless, and yet
# {cite:t}`calandrino2011also` inferred individual choices from public lists of the kind "others also bought", by
# watching how they change.
#
# Is the log itself personal, if users are numbers? Suppose somebody knows a few books that a person has read, from a
# conversation or a public review, and looks for users with these books.
#
# :::{admonition} Predict, then run
# :class: important
# The made-up shop has 200 users, and each has between 15 and 40 of the 300 books. How many of a person's books, picked
# at random, do you have to know until that person is usually the only match?
# :::

# %% mystnb={"image": {"alt": "A rising curve over the number of known books from one to six: the share of users singled out is zero for one book, about two thirds for three and nearly one for five."}, "figure": {"caption": "A handful of books is a name: whoever knows four or five of a person's books finds the whole history in a log without names. Made-up shop; mean and range of ten random draws for each user.", "name": "fig-ch1-unique"}}
shop = load("synthetic")
log = shop.interactions
has = torch.zeros(shop.n_users, shop.n_items, dtype=torch.bool)
has[log.users, log.items] = True

rows = []
for draw in range(10):
    stream = rng.key(draw, "what a friend knows")
    user, item = torch.arange(shop.n_users)[:, None], torch.arange(300)
    order = (rng.uniform(stream, user, item) * has).argsort(descending=True)
    for k in range(1, 7):
        known = order[:, :k]  # k of each user's books
        matches = has[:, known].all(2).sum(0)  # users who have them all
        rows.append([k, float((matches == 1).float().mean())])
unique = pd.DataFrame(rows, columns=["known", "share"])
book.glue("ch1_unique", float(unique.groupby("known")["share"].mean()[4]))
ax = plots.axes("books known of a person", "share of users singled out")
plots.curve(ax, unique, "share", "made-up shop", x="known")

# %% [markdown]
# Four books single out {glue:text}`ch1_unique:.0%` of the users ({numref}`fig-ch1-unique`), and with them comes the
# rest of the history. Removing names does not help, because the history is the name.
# {cite:t}`narayanan2008deanonymization` showed it for a public set of film ratings, with dates that were only roughly
# known.
#
# So what does a server need at the least? Popularity needs sums only. Matrix factorisation needs the item vectors in
# common; a user vector serves one person and could stay with them. This thought is the seed of the book, and
# [chapter 3](03_federated_loop.ipynb) plants it.
#
# ## Experiment
#
# How good are the five? Under *leave-one-out* each user's last item is the test item. It is ranked among 99 items the
# user never touched, drawn once. If it lands at place $r$, then
#
# $$
# \begin{aligned}
# \mathrm{HR@}K &= [r \le K], \\
# \mathrm{NDCG@}K &= \frac{[r \le K]}{\log_2(1 + r)},
# \end{aligned}
# $$ (eq-ch1-metrics)
#
# averaged over users. The hit ratio counts; NDCG also rewards a high place.
#
# Where do the settings come from? Those of `ItemKNN` and `BPR` are the package's defaults, chosen on the validation
# items of MovieLens 100K. Our own factorisation deserves the same care, so we choose its $\lambda$ and its number of
# epochs on validation items too.

# %%
from fedlib.evaluation.stats import mean_and_spread, paired_bootstrap


@dataclass
class Table:
    """A ranker made of a matrix of scores (m, n)."""

    scores: torch.Tensor

    def score(self, users, items=None):
        rows = self.scores[users]
        return rows if items is None else rows.gather(1, items)


def on_validation(l2, epochs=60, every=5):
    """NDCG@10 of MF on the validation items, a row each few epochs."""
    rows = []
    states = train(split, pointwise, 4, epochs, l2)
    for epoch, (W, H) in enumerate(states, start=1):
        if epoch % every == 0:
            result = evaluate(Table(W @ H.T), split, "valid")
            rows.append([l2, epoch, result.metrics((10,))["NDCG@10"]])
    return pd.DataFrame(rows, columns=["l2", "epoch", "NDCG@10"])


# %%
tried = pd.concat(map(on_validation, (0.0, 0.01, 0.03)), ignore_index=True)
best = tried.loc[tried["NDCG@10"].idxmax()]
BEST = {"l2": float(best["l2"]), "epochs": int(best["epoch"])}
book.glue("ch1_l2", BEST["l2"])
book.glue("ch1_epochs", BEST["epochs"])
print("chosen on validation:", BEST)

# %% mystnb={"image": {"alt": "Validation NDCG@10 over 60 epochs, three curves. Without penalty the curve rises fast and then falls back. With the middle penalty it rises a little more slowly and ends highest. With the largest penalty it stays far below both."}, "figure": {"caption": "Both too little and too much penalty cost accuracy, and the right amount also says how long to train. Validation items, seed 0; the test items are not looked at.", "name": "fig-ch1-tuning"}}
ax = plots.axes("epoch", "NDCG@10 on validation items")
for l2, part in tried.groupby("l2"):
    plots.curve(ax, part, "NDCG@10", f"λ = {l2:g}", x="epoch")
_ = ax.legend()

# %% [markdown]
# {numref}`fig-ch1-tuning` decides: λ = {glue:text}`ch1_l2` and {glue:text}`ch1_epochs` epochs. One more row belongs in
# the table. *Local-only* is the same model trained by every user alone, with nothing shared
# ([chapter 3](03_federated_loop.ipynb) explains the line). It tells what people gain from one another.
#
# :::{admonition} Predict, then run
# :class: important
# Order the six: random, popularity, local-only, item-kNN, MF, BPR. By how much will the best beat popularity?
# :::

# %%
SEEDS = (0, 1, 2)


def my_mf(seed):
    *_, (W, H) = train(split, pointwise, 4, seed=seed, **BEST)
    return Table(W @ H.T)


def local_only(seed):
    local = LocalTraining(negatives_from="unobserved", lr=30, lr_items=30)
    run = {"local": local, "rounds": 12, "seed": seed, "evaluate_every": 12}
    return federate(split, FedMF(dim=32).alone(), **run).ranking()


models = {
    "random": [Chance(seed).fit(split) for seed in SEEDS],
    "popularity": [Popularity().fit(split)],
    "item-kNN": [ItemKNN().fit(split)],
    "MF": [my_mf(seed) for seed in SEEDS],
    "BPR": [BPR(seed=seed).fit(split) for seed in SEEDS],
}
rankings = {k: [evaluate(one, split) for one in v] for k, v in models.items()}
rankings["local-only"] = [local_only(seed) for seed in SEEDS]


# %%
def per_user(method, metric="HR@10"):
    """Each user's value, averaged over seeds, (m,)."""
    seeds = [ranking.per_user((10,))[metric] for ranking in rankings[method]]
    return (sum(seeds) / len(seeds)).to_numpy()


# %%
def summary(methods):
    """Mean and spread over seeds, and the distance to popularity."""
    table = {}
    for method in methods:
        row = table[method] = {}
        for metric in ("HR@10", "NDCG@10"):
            values = [r.metrics((10,))[metric] for r in rankings[method]]
            mean, spread = mean_and_spread(values)
            row[metric] = f"{mean:.3f}"
            if len(values) > 1:
                row[metric] += f" ± {spread:.3f}"
        if method != "popularity":
            gap = paired_bootstrap(per_user(method), per_user("popularity"))
            row["HR@10 - popularity"] = f"{gap.mean_difference:+.3f}"
            row["95 % interval"] = f"[{gap.low:+.3f}, {gap.high:+.3f}]"
    return pd.DataFrame(table).T.fillna("")


size = f"{m:,} users, {n:,} items"
book.glue("ch1_protocol", f"{name}, {size}, {split.test_sha256[:8]}")
ORDER = ["random", "local-only", "popularity", "item-kNN", "MF", "BPR"]
summary(ORDER)

# %% [markdown]
# *{glue:text}`ch1_protocol` (data, size, first digits of the test items' sha256). Leave-one-out by time, test item
# against 99 fixed negatives, equal scores count half, K = 10. Training negatives from outside the training items. Mean
# and standard deviation over seeds 0 to 2, which change starts and draws; popularity and item-kNN have no seed.
# Intervals: paired bootstrap over users.*

# %%
for label, first, second in [
    ("ch1_knn", "item-kNN", "popularity"),
    ("ch1_learned", "BPR", "item-kNN"),
    ("ch1_losses", "MF", "BPR"),
]:
    gap = paired_bootstrap(per_user(first), per_user(second))
    for part in ("mean_difference", "low", "high"):
        book.glue(f"{label}_{part}", getattr(gap, part))
    spread = f"95 % interval [{gap.low:+.3f}, {gap.high:+.3f}]"
    print(f"{first} - {second}: {gap.mean_difference:+.3f}, {spread}")
chance_error = (0.1 * 0.9 / m) ** 0.5  # standard error of a share of 0.1
assert abs(per_user("local-only").mean() - 0.1) < 4 * chance_error
assert (per_user("MF") - per_user("popularity")).mean() > 0

# %% [markdown]
# Random and local-only sit at chance: alone, nobody can learn what is new to them. Popularity is far above. Item-kNN,
# without any training, adds {glue:text}`ch1_knn_mean_difference:.3f` (interval from {glue:text}`ch1_knn_low:.3f` to
# {glue:text}`ch1_knn_high:.3f`). From there to BPR it is {glue:text}`ch1_learned_mean_difference:+.3f`
# ({glue:text}`ch1_learned_low:+.3f` to {glue:text}`ch1_learned_high:+.3f`), and from BPR to our MF
# {glue:text}`ch1_losses_mean_difference:+.3f` ({glue:text}`ch1_losses_low:+.3f` to {glue:text}`ch1_losses_high:+.3f`).
# Which loss is better these data do not say. Most of what can be gained is gained by counting who chose what together.
#
# ### Who gets recommended?
#
# An average over users says nothing about items. So let each ranker fill a list of ten for every user, from all items
# the user has not chosen, and look at what is on the lists.

# %%
by_count = chosen_by.argsort(descending=True, stable=True)
seen = split.train


def shown(model):
    """How often each item is on a list of ten, busiest item first (n,)."""
    scores = model.score(torch.arange(m)).double().clone()
    scores[seen.users, seen.items] = -torch.inf
    lists = scores.topk(10).indices.flatten()
    return torch.bincount(lists, minlength=n)[by_count]


places = {label: shown(seeds[0]) for label, seeds in models.items()}
rows = {}
for label, counts in (places | {"the choices": falling}).items():
    head = counts[: n // 5].sum() / counts.sum()
    rows[label] = [float((counts > 0).float().mean()), float(head)]
book.glue("ch1_covered_knn", rows["item-kNN"][0])
book.glue("ch1_covered_bpr", rows["BPR"][0])
book.glue("ch1_head_bpr", rows["BPR"][1])
columns = ["items anybody sees", "places of the top fifth"]
pd.DataFrame(rows, columns).T.map("{:.0%}".format)

# %% mystnb={"image": {"alt": "Four rising curves of cumulated places over the items, busiest first. Popularity reaches one almost at once. Item-kNN and BPR pass nine tenths around the first fifth of the items. The curve of the choices themselves rises more slowly than all three."}, "figure": {"caption": "All three rankers put more of their places on popular items than the users' own choices do. Lists of ten from all items not yet chosen, seed 0.", "name": "fig-ch1-concentration"}}
ax = plots.axes("share of items, busiest first", "share of the places")
for label in ("popularity", "item-kNN", "BPR"):
    grown = places[label].cumsum(0) / places[label].sum()
    share = torch.arange(1, n + 1) / n
    frame = pd.DataFrame({"share": share, "places": grown})
    plots.curve(ax, frame, "places", label, x="share")
grown = falling.cumsum(0) / falling.sum()
frame = pd.DataFrame({"share": share, "places": grown})
plots.curve(ax, frame, "places", "the choices", x="share")
_ = ax.legend()

# %% [markdown]
# The lists of item-kNN reach {glue:text}`ch1_covered_knn:.0%` of the catalogue and those of BPR
# {glue:text}`ch1_covered_bpr:.0%`. BPR gives {glue:text}`ch1_head_bpr:.0%` of its places to the top fifth, which holds
# {glue:text}`ch1_head:.0%` of the choices. So the rankers do not merely repeat the popularity bias of the log, they
# sharpen it ({numref}`fig-ch1-concentration`). No column of the first table shows that. And if lists like these decide
# what is seen next, the next log will be narrower still.
#
# ## Break it
#
# ### A ranker that has seen the test
#
# It takes one careless line: fit the baseline on the whole log, test items included. After all, popularity is only a
# count, and one more or less cannot matter.
#
# :::{admonition} Predict, then run
# :class: important
# Fit popularity and item-kNN on everything. Which of the two gains more, and why?
# :::

# %%
careless = replace(split, train=split.data.interactions)
for label, ranker in [("popularity", Popularity()), ("item-kNN", ItemKNN())]:
    rankings[f"{label}, careless"] = [evaluate(ranker.fit(careless), split)]
    gap = paired_bootstrap(per_user(f"{label}, careless"), per_user(label))
    for part in ("mean_difference", "low", "high"):
        book.glue(f"ch1_leak_{label[:3]}_{part}", getattr(gap, part))
both = ["popularity", "popularity, careless"]
both += ["item-kNN", "item-kNN, careless"]
summary(both)[["HR@10", "NDCG@10"]]

# %% [markdown]
# Popularity gains {glue:text}`ch1_leak_pop_mean_difference:.3f` ({glue:text}`ch1_leak_pop_low:.3f` to
# {glue:text}`ch1_leak_pop_high:.3f`), item-kNN {glue:text}`ch1_leak_ite_mean_difference:.3f`
# ({glue:text}`ch1_leak_ite_low:.3f` to {glue:text}`ch1_leak_ite_high:.3f`). One count among many changes little. But
# a similarity is about pairs, and the user's own pairs of test item and history are now among them. The more a model
# can remember of one person, the more a leak is worth, and no score looks suspicious by itself. Keep held-out items out
# of everything that is fitted, counts included.
#
# ### A rival that was never trained
#
# The other way round is more common. A new method is tuned for weeks, its rival runs once with somebody else's
# settings. {numref}`fig-ch1-untrained` has BPR with two learning rates over its first twenty epochs.

# %% mystnb={"image": {"alt": "HR@10 on validation items over twenty epochs of BPR. With the package's rate the curve crosses the dashed popularity line at the third epoch and reaches about 0.65. With a tenth of that rate it stays near 0.1 for eight epochs and only just arrives at the popularity line at the end."}, "figure": {"caption": "The same model, code and number of epochs: one setting decides whether BPR looks strong or useless. Validation items, seed 0; leave-one-out, 99 fixed negatives.", "name": "fig-ch1-untrained"}}
ax = plots.axes("epoch", "HR@10 on validation items")
for lr in (0.003, 0.0003):
    rows = []
    states = train(split, pairwise, 1, epochs=20, l2=0.01, lr=lr)
    for epoch, (W, H) in enumerate(states, start=1):
        hits = evaluate(Table(W @ H.T), split, "valid").metrics((10,))
        rows.append([epoch, hits["HR@10"]])
    frame = pd.DataFrame(rows, columns=["epoch", "HR@10"])
    plots.curve(ax, frame, "HR@10", f"BPR, rate {lr:g}", x="epoch")
popular = evaluate(models["popularity"][0], split, "valid")
plots.level(ax, popular.metrics((10,))["HR@10"], "popularity")
ax.set_xticks(range(0, 21, 5))
_ = ax.legend()

# %% [markdown]
# Both curves may truthfully be called "BPR, twenty epochs". Beside the slow one almost any method looks like progress.
# The cure is dull. Tune every row with the same effort on validation items, say how, and show the popularity row: a
# learned model that stays below it is no finding about the model, but a warning about its training.
#
# ## Paper beside ours
#
# Two studies should be read before any table of recommenders. {cite:t}`dacrema2019progress` took eighteen methods from
# leading conferences. Seven could be reproduced with reasonable effort, and six of these were often beaten by simple
# ones, such as nearest neighbours, once those were tuned. {cite:t}`rendle2020ncfmf` repeated the experiments of NCF
# {cite}`he2017ncf` and found that a plain inner product, with properly chosen settings, does clearly better than the
# network that was to replace it. Our table says the same in small: the step from nothing to simple is large, the step
# from simple to learned is not.
#
# What do the base rows of a federated paper look like beside such baselines? These are from the tables of FedSLLM
# {cite}`fedsllm`:

# %%
claimed = {  # MovieLens 100K, HR@10 and NDCG@10
    "FedNCF, Base": (0.5557, 0.3388),
    "PFedRec, Base": (0.5864, 0.3660),
    "FedPerGNN, Base": (0.5748, 0.3569),
    "FedMF with FALE selection": (0.1262, 0.0591),
}
rows = {f"claimed: {k}": v for k, v in claimed.items()}
for method in ORDER:
    row = [per_user(method, metric).mean() for metric in ("HR@10", "NDCG@10")]
    rows[f"measured: {method}"] = row
beside = pd.DataFrame(rows, index=["HR@10", "NDCG@10"]).T.round(4)
beside.sort_values("HR@10").map("{:.4f}".format)

# %% [markdown]
# Three claimed rows lie far above popularity and close to item neighbours, which need no training at all. The fourth is
# close to chance; without a popularity row the paper's reader cannot see that it has learned next to nothing. Compare
# magnitudes, not places: there, a tenth of the clients takes part in each of 200 rounds, the candidates are not stated,
# and by a habit of this family, which chapter 3 takes apart, training may have spared the held-out items.
#
# ## Exercises
#
# :::{exercise} ★ Warm-up: what guessing is worth
# :label: ex-ch1-chance
# A random order of $C$ candidates contains one right item. What are the expected HR@$K$ and NDCG@$K$?
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# All places $r = 1, \dots, C$ are equally likely. Average {eq}`eq-ch1-metrics` over them.
#
# </details>


# %% tags=["exercise"]
def chance(C, K):
    return None  # your code


all_places = torch.arange(1, 101)
expected = [float(f(all_places, 10).mean()) for f in (hit_ratio, ndcg)]
book.check(chance(100, 10), expected)

# %% [markdown]
# :::{solution-start} ex-ch1-chance
# :label: sol-ch1-chance
# :class: dropdown
# :::
#
# $K$ of the $C$ places are hits, and each hit is worth its discount. Compare with the first row of the results.


# %% tags=["solution"]
def chance(C, K):
    return K / C, sum(1 / log2(1 + r) for r in range(1, K + 1)) / C


all_places = torch.arange(1, 101)
expected = [float(f(all_places, 10).mean()) for f in (hit_ratio, ndcg)]
book.check(chance(100, 10), expected)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} ★★ Build: neighbours among users
# :label: ex-ch1-user
# Turn item neighbours around: find the users most similar to $u$ by the cosine of their rows, and add up what they
# chose, weighted by similarity. Check it on the five readers, then choose the number of neighbours on validation items
# and put it into the table.
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# `similarity(X.T, 0)` compares users. For Ben the pencil says: $2/\sqrt6$ with Ada and with Cem, ½ with Dia, 0 with Eva.
#
# </details>


# %% tags=["exercise"]
def user_scores(X, neighbours):
    """Scores (m, n) from the nearest users."""
    return None  # your code


yours = user_scores(five, neighbours=4)
ben = 2 / 6**0.5 + 1 / 2, 2 / 6**0.5, 0.0, 0.0  # C to F
book.check(None if yours is None else yours[1, 2:].tolist(), ben)

# %% [markdown]
# :::{solution-start} ex-ch1-user
# :label: sol-ch1-user
# :class: dropdown
# :::
#
# The same code with rows and columns exchanged.


# %% tags=["solution"]
def user_scores(X, neighbours):
    """Scores (m, n) from the nearest users."""
    sim = similarity(X.T, 0)
    best = sim.topk(neighbours, dim=1)
    return torch.zeros_like(sim).scatter(1, best.indices, best.values) @ X


yours = user_scores(five, neighbours=4)
ben = 2 / 6**0.5 + 1 / 2, 2 / 6**0.5, 0.0, 0.0  # C to F
book.check(None if yours is None else yours[1, 2:].tolist(), ben)

# %%
X = matrix(split)
candidates = {k: Table(user_scores(X, k)) for k in (10, 30, 100)}
good = {}
for k, table in candidates.items():
    result = evaluate(table, split, "valid")
    good[k] = result.metrics((10,))["NDCG@10"]
k = max(good, key=good.get)
print("neighbours chosen on validation:", k)
rankings["user-kNN"] = [evaluate(candidates[k], split)]
summary(["popularity", "item-kNN", "user-kNN", "BPR"])

# %% [markdown]
# On MovieLens 100K the twins land close together. Which is better depends on whether rows or columns are short.
#
# :::{solution-end}
# :::
#
# :::{exercise} ★★★ Research: is one baseline best for everybody?
# :label: ex-ch1-activity
# Does the strongest baseline depend on how much a user has chosen? Write `by_activity(method)`, the mean HR@10 of each
# third of the users. Then compare item-kNN and BPR within each third, with intervals, and at other values of K. Write
# down first what you expect for users with few choices.
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# `pd.Series(...).groupby(third, observed=True)` groups a value for each user. The self-check puts the thirds together again:
# weighted by their sizes they must give the overall mean.
#
# </details>

# %% tags=["exercise"]
activity = split.train.counts.numpy()
third = pd.qcut(activity, 3, labels=["light", "middling", "heavy"])
sizes = pd.Series(third).value_counts(sort=False)


def by_activity(method):
    return None  # your code


yours = by_activity("BPR")
whole = None if yours is None else float((yours * sizes).sum() / m)
book.check(whole, per_user("BPR").mean())

# %% [markdown]
# :::{solution-start} ex-ch1-activity
# :label: sol-ch1-activity
# :class: dropdown
# :::

# %% tags=["solution"]
activity = split.train.counts.numpy()
third = pd.qcut(activity, 3, labels=["light", "middling", "heavy"])
sizes = pd.Series(third).value_counts(sort=False)


def by_activity(method):
    return pd.Series(per_user(method)).groupby(third, observed=True).mean()


yours = by_activity("BPR")
whole = None if yours is None else float((yours * sizes).sum() / m)
book.check(whole, per_user("BPR").mean())

# %%
found = pd.DataFrame({method: by_activity(method) for method in ORDER[2:]})
for group in sizes.index:
    one, other = (per_user(k)[third == group] for k in ("BPR", "item-kNN"))
    gap = paired_bootstrap(one, other)
    found.loc[group, "BPR - item-kNN"] = gap.mean_difference
    found.loc[group, ["from", "to"]] = gap.low, gap.high
tested = pd.Series(chosen_by[split.test.items].numpy())
found["test item's choices"] = tested.groupby(third, observed=True).median()
found.round(3)


# %%
def hr(method, k):
    seeds = [r.metrics((k,))[f"HR@{k}"] for r in rankings[method]]
    return sum(seeds) / len(seeds)


ks = (1, 5, 10, 20, 50)
pd.DataFrame({f"HR@{k}": {j: hr(j, k) for j in ORDER} for k in ks}).round(3)

# %% [markdown]
# On MovieLens 100K it is for the light users that BPR is ahead with some confidence, although they give it the least to
# learn from. In the other thirds the interval contains zero. Light users are also the easy ones for every personal
# ranker, and not because they keep to the bestsellers: popularity serves them no better than the middling. One guess:
# who comes once rates in one sitting what the site lists together.
#
# $K$ matters more. At $K = 50$ item-kNN drops below popularity: with ten neighbours an item, most candidates score
# exactly zero, and among them it has no opinion. A baseline is strong *for something*; say for what.
#
# :::{solution-end}
# :::
#
# ## Quiz
#
# **1.** An item has 400 choices, another 4. Can you conclude that people like the first one better?
#
# <details class="option"><summary>yes, a hundred times</summary>
#
# **No.** Counts mix liking with being shown. An item nobody saw has no choices, however good it is.
#
# </details>
# <details class="option"><summary>no, more people may simply have seen it</summary>
#
# **Right.** Choice needs exposure first, and the log does not record exposure.
#
# </details>
#
# **2.** Two books were each chosen once, by the same reader. What is their similarity with $s = 0$, and with $s = 3$?
#
# <details class="option"><summary>1 and 1</summary>
#
# **No.** Shrinkage is added to the denominator, which is 1 here, and makes it 4.
#
# </details>
# <details class="option"><summary>1 and ¼</summary>
#
# **Right.** $1/(1+0)$ and $1/(1+3)$. A pair with a hundred readers in common would hardly notice.
#
# </details>
# <details class="option"><summary>½ and ¼</summary>
#
# **No.** With no shrinkage, two equal columns have cosine 1.
#
# </details>
#
# **3.** Look at {numref}`fig-ch1-untrained`. A paper reports that its method beats BPR by half. What do you ask first?
#
# <details class="option"><summary>how many dimensions its method has</summary>
#
# **No.** That tells something about the method. The doubt is about its rival.
#
# </details>
# <details class="option"><summary>how BPR's settings were chosen</summary>
#
# **Right.** With one setting changed, BPR needs all twenty epochs to arrive at popularity. A rival's number is worth no
# more than its tuning.
#
# </details>
# <details class="option"><summary>which random seed was used</summary>
#
# **No.** Seeds move the result by about a hundredth here, as the spread in the results shows.
#
# </details>
#
# **4.** Why does local-only end at chance?
#
# <details class="option"><summary>it has too few epochs</summary>
#
# **No.** More epochs fit a user's own items better and say nothing about an item the user never had.
#
# </details>
# <details class="option"><summary>what it does not know can only be learned from others</summary>
#
# **Right.** The test item and its rivals are equally new to one user's own model.
#
# </details>
# <details class="option"><summary>its vectors are too short</summary>
#
# **No.** It has the same dimension as MF, which ends far above.
#
# </details>
#
# **5.** A log carries numbers in place of names. Is it anonymous?
#
# <details class="option"><summary>yes</summary>
#
# **No.** {numref}`fig-ch1-unique` shows how few known items find the person, and with them everything else.
#
# </details>
# <details class="option"><summary>no, the history itself identifies</summary>
#
# **Right.** A handful of choices is shared with nobody. The pattern is the name.
#
# </details>
# <details class="option"><summary>only if the shop is small</summary>
#
# **No.** More users need a few more known items, but a longer catalogue makes histories differ more.
#
# </details>
#
# ## Summary
#
# - A log of choices has no dislikes. A ranker orders the empty cells, and negatives are a guess about them.
# - Popularity, item neighbours and BPR each fit in a few lines, and yours equal the package's.
# - Item neighbours come close to what is learned. A paper without such a row hides how much is free.
# - A baseline is honest if it saw what its rival saw, and was tuned as its rival was, on validation items.
# - All of them need everybody's history in one place, and a history without a name still names its owner.
#
# **What next?** [Chapter 2](02_evaluation.ipynb) asks how far a number like HR@10 can be trusted. [Chapter 3](03_federated_loop.ipynb) leaves
# the histories where they are.
#
# **Further reading.** {cite:t}`sarwar2001itemknn` compare similarities. {cite:t}`rendle2009bpr` derive the pairwise loss;
# {cite:t}`hu2008implicit` weigh all empty cells instead of drawing some. {cite:t}`dacrema2019progress` is the best
# training in doubt we know, and {cite:t}`narayanan2008deanonymization` the reason why such logs are no longer published
# lightly.
