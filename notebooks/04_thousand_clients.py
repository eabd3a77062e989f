# %% [markdown]
# # A thousand clients at once
#
# In this chapter a plain Python loop over clients becomes the engine of `fedlib`, one idea at a time, and after every
# idea the numbers are still those of the loop. At the end you can say where each factor of speed comes from, and what
# a round costs in bytes, multiplications and seconds.

# %% cellView="form" tags=["setup", "hide-input"]
# @title Set-up: run this cell first
import importlib.util

if importlib.util.find_spec("fedlib") is None:
    raise ModuleNotFoundError("fedlib is missing: pip install it from a copy of its repository")

from fedlib import book

PROFILE = book.start()

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two drawings of the same twelve clients as rows of squares. On the left one wide block: most squares are empty padding, because one client is long. On the right three blocks of four clients sorted by length: the first two blocks are narrow, and little padding is left."}, "figure": {"caption": "Clients that train side by side need rows of one length. Sorted by length and cut into chunks, the same twelve clients carry less than a quarter of the padding, and each chunk is small enough for the processor's cache.", "name": "fig-ch4-story"}}
from matplotlib.patches import Rectangle

from fedlib.book import plots


def block(x, y, lengths):
    """Draw clients as rows of squares; returns the squares of padding."""
    for i, length in enumerate(lengths):
        for j in range(max(lengths)):
            corner, edge = (x + 0.3 * j, y - 0.42 * i), int(j >= length)
            face = "none" if edge else plots.COLOURS[0]
            look = {"fc": face, "ec": plots.COLOURS[edge]}
            ax.add_patch(Rectangle(corner, 0.24, 0.34, **look))
    return max(lengths) * len(lengths) - sum(lengths)


lengths = [3, 14, 5, 2, 9, 4, 3, 20, 6, 2, 4, 8]
parts = [sorted(lengths)[i : i + 4] for i in (0, 4, 8)]
ax = plots.axes("", "", 8.4, 4.0)
padding = block(0, 5.2, lengths)
ax.text(0, 6.0, f"all at once: {padding} squares of padding")
padding = sum(block(7.4, 5.2 - 1.95 * i, p) for i, p in enumerate(parts))
ax.text(7.4, 6.0, f"sorted, in chunks of four: {padding}")
ax.set(xlim=(-0.1, 13.7), ylim=(-0.1, 6.5))
_ = ax.axis("off")

# %% [markdown]
# :::{admonition} At a glance
# :class: tip
# - **You will** lay clients of different lengths out in one tensor, turn a loop into batched code in four steps and
#   check each against the loop, read a chunk-size curve, count bytes and multiplications by hand, and break the engine
#   in two ways.
# - **You need** the loop of [chapter 3](03_federated_loop.ipynb) and broadcasting in PyTorch.
# - **Data** made-up clients; for the experiment MovieLens 100K {cite}`harper2015movielens`, for research use and not
#   redistributed here, or the shop `synthetic` in the profile `smoke`.
# - **Sources** FedAvg {cite}`mcmahan2017`, Algorithm 1; FedMF {cite}`chai2021fedmf`, FedNCF {cite}`perifanis2022fedncf`,
#   PFedRec {cite}`zhang2023pfedrec`; the simulators FedJAX {cite}`ro2021fedjax` and pfl-research
#   {cite}`granqvist2024pfl`; SplitMix64 {cite}`steele2014splitmix`.
# :::
#
# ## Entry check
#
# **1.** A FedMF client takes some steps on its samples. Which rows of its copy of the item table change?
#
# <details class="option"><summary>all rows</summary>
#
# **No.** A row that no sample points to has a zero gradient and stays as it came.
#
# </details>
# <details class="option"><summary>the rows of all its samples, chosen or drawn</summary>
#
# **Right.** Counterexamples are samples too: their rows are pushed away.
#
# </details>
# <details class="option"><summary>the rows of the chosen items only</summary>
#
# **No.** The drawn items have label 0 and an error of their own.
#
# </details>
#
# **2.** `Q` has the shape (n, d) and the integers `ids` have the shape (K, R). What is the shape of `Q[ids]`?
#
# <details class="option"><summary>(K, R, d)</summary>
#
# **Right.** Every integer is replaced by its row of the table.
#
# </details>
# <details class="option"><summary>(R, d)</summary>
#
# **No.** That would be the rows of one client.
#
# </details>
# <details class="option"><summary>(K, n, d)</summary>
#
# **No.** That would be a whole table for each client, and the trap of this chapter.
#
# </details>
#
# **3.** A client's loss is the mean over its samples. We append samples of weight 0. What happens to its gradient?
#
# <details class="option"><summary>it shrinks, because we now divide by more samples</summary>
#
# **No.** It would if we took a plain mean; the weights already contain the division by the real samples.
#
# </details>
# <details class="option"><summary>nothing</summary>
#
# **Right.** A term of weight 0 adds 0 to the loss and to every derivative.
#
# </details>
# <details class="option"><summary>the items of the appended samples are pushed down</summary>
#
# **No.** Their error is multiplied by 0. [Chapter 3](03_federated_loop.ipynb) derives the gradients.
#
# </details>

# %%
import time
from typing import NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch.func import grad, vmap
from torch.utils.flop_counter import FlopCounterMode

from fedlib import FedMF, FedNCF, LocalTraining, PFedRec, federate, load, rng
from fedlib.book import glue
from fedlib.centralized import Chance, Popularity, evaluate
from fedlib.data.log import UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.evaluation.stats import mean_and_spread, paired_bootstrap

torch.set_num_threads(1)  # one thread, so that seconds can be compared

# %% [markdown]
# ## Five clients in one tensor
#
# A processor is fast when it does the same thing to many numbers, and Python is slow when it does many things one after
# the other. So we want all clients in one tensor. Two things stand in the way: clients have different numbers of
# samples, and each has its own copy of the item table.
#
# Our five readers from chapter 3 have read on. Each list holds a chosen book, a drawn one, a chosen one, and so on. Ada
# drew book D twice. Short lists are filled up with book A, whatever it is, at the weight 0:
#
# $$
# L_k = \sum_s \omega_{ks}\, \ell(z_{ks}, r_{ks}), \qquad
# \omega_{ks} = \begin{cases} 1/N_k & s \text{ is real} \\ 0 & s \text{ is padding,} \end{cases}
# $$ (eq-ch4-weights)
#
# with the cross-entropy $\ell$ of logit $z$ and label $r$, and $N_k$ the real samples of client $k$.

# %%
READERS = ["Ada", "Ben", "Cem", "Dia", "Eva"]
LISTS = ["ADBD", "AC", "BD", "BEFE", "FA"]
count = torch.tensor([len(books) for books in LISTS])
items = torch.zeros(5, int(count.max()), dtype=torch.int64)  # (K, N)
for u, books in enumerate(LISTS):
    items[u, : len(books)] = torch.tensor(["ABCDEF".index(b) for b in books])
real = torch.arange(items.shape[1]) < count[:, None]  # (K, N)
weights = real / count[:, None]
assert weights.sum(1).tolist() == [1, 1, 1, 1, 1]

shown = pd.DataFrame([["ABCDEF"[i] for i in row] for row in items])
shown.index, shown.columns = READERS, [f"sample {s}" for s in range(4)]
shown + " × " + weights.numpy().astype("U5")

# %% [markdown]
# The table is the second problem. Ada's samples point to three of six books, so three rows are all she needs. We number
# a client's distinct items 0, 1, 2, ... and call these numbers its *local rows*. Two tensors translate: `ids` (K, R) says
# which item is behind a local row, and `local` (K, N) which local row a sample points to. Sorting finds them for
# all clients at once: a new item begins wherever a sorted list changes.


# %%
def local_rows(items):
    """items (K, N) -> ids (K, R), local (K, N) with ids[k, local] = items."""
    ordered, order = items.sort(dim=1)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    number = new.cumsum(1) - 1
    local = torch.empty_like(items).scatter_(1, order, number)
    width = int(number.max()) + 1
    ids = items.new_zeros(len(items), width).scatter_(1, number, ordered)
    return ids, local


ids, local = local_rows(items)
assert ids[0].tolist() == [0, 1, 3]  # Ada: the books A, B and D
assert local[0].tolist() == [0, 2, 1, 2]  # D is her local row 2, twice
assert torch.equal(ids.gather(1, local), items)

# %% [markdown]
# :::{admonition} Predict, then run
# :class: important
# Each of Ada's four samples adds 1 to the local row it points to. What is in the row of book D afterwards, if we write
# `rows[local] += 1`?
# :::

# %%
ada = local[0]
assigned = torch.zeros(3)
assigned[ada] += 1
accumulated = torch.zeros(3).index_add_(0, ada, torch.ones(4))
print("rows[local] += 1   ", assigned.tolist())
print("index_add_         ", accumulated.tolist())
assert assigned.tolist() == [1, 1, 1]
assert accumulated.tolist() == [1, 1, 2]

# %% [markdown]
# `rows[local] += 1` reads all four values first, adds, and writes; the two samples of D write the same 1. `index_add_`
# and its relatives `scatter_add_` and `index_put_(accumulate=True)` add one after the other. Remember it whenever
# something is summed by index: on a client for repeated items, on the server for clients that share a book.
#
# ## From the loop to the engine
#
# Five readers are too few to measure. We make up a crowd with skewed lengths, as in real data: most clients short,
# a few very long. Every fifth sample is a chosen item.


# %%
class Shop(NamedTuple):
    P: torch.Tensor  # (m, d), one row on each device
    Q: torch.Tensor  # (n, d), at the server
    samples: UserItems  # the items of each client's samples, list after list


def values(name, rows, d=32):
    """Small random numbers (rows, d) from the stream of that name."""
    row, column = torch.arange(rows)[:, None], torch.arange(d)
    return 0.1 * rng.normal(rng.key(0, name), row, column).float()


def crowd(m, n):
    """m clients with at least four chosen items each, out of n items."""
    u = rng.uniform(rng.key(0, "length"), torch.arange(m))
    chosen = 4 + (-40 * torch.log1p(-u)).long()
    users = torch.arange(m).repeat_interleave(5 * chosen)
    items = rng.integers(n, rng.key(0, "item"), torch.arange(len(users)))
    samples = UserItems.from_pairs(users, items, m)
    return Shop(values("init user", m), values("init table item", n), samples)


# %%
m, n = (100, 1000) if PROFILE == "smoke" else (1000, 10_000)
shop = crowd(m, n)
glue("longest", int(shop.samples.counts.max()))
glue("median", int(shop.samples.counts.median()))

# %% [markdown]
# The longest of these clients has {glue:text}`longest` samples, the median {glue:text}`median`.
#
# ### 1. The loop
#
# This is the oracle of the chapter: short, obvious, and right if anything is. Each client takes three full-batch steps
# on a table of its own, with automatic differentiation, and the server takes the plain mean.

# %%
STEPS, LR, LR_ITEMS = 3, 1.0, 100.0


def train_one(p, Q, items, labels):
    """One client: its new p (d,), and the change of its table (n, d)."""
    p, q = p.clone().requires_grad_(), Q.clone().requires_grad_()
    for _ in range(STEPS):
        loss = F.binary_cross_entropy_with_logits(q[items] @ p, labels)
        to_p, to_q = torch.autograd.grad(loss, (p, q))
        with torch.no_grad():
            p -= LR * to_p
            q -= LR_ITEMS * to_q
    return p.detach(), q.detach() - Q


def loop_round(shop):
    P, total = shop.P.clone(), torch.zeros_like(shop.Q)
    for u in range(len(P)):
        items = shop.samples[u]
        labels = (torch.arange(len(items)) % 5 == 0).float()
        P[u], change = train_one(P[u], shop.Q, items, labels)
        total += change
    return P, shop.Q + total / len(P)


# %% [markdown]
# All times below are CPU seconds of this process, the best of a few runs; other programs on the machine then disturb
# little. Nothing is timed before it has been compared with the loop.


# %%
def fastest(a_round, *arguments, repeat=3):
    """CPU seconds of the fastest run, and the result."""
    taken = []
    for _ in range(repeat):
        start = time.process_time()
        result = a_round(*arguments)
        taken.append(time.process_time() - start)
    return min(taken), result


def same(mine, theirs):
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


seconds = {}
seconds["loop"], oracle = fastest(loop_round, shop, repeat=2)
print(f"loop: {seconds['loop']:.2f} s for {m} clients")

# %% [markdown]
# ### 2. The trap: `vmap` over everything
#
# `torch.func` offers a shortcut. `grad` turns the loss of one client into a function that returns its gradients, and
# `vmap` turns that into a function of K clients, stacked along a new first dimension.

# %%
CHUNK = 64


def padded(shop, group):
    """Items, labels and weights (K, N) of the clients in a group."""
    items, count = shop.samples.padded(group)
    place = torch.arange(items.shape[1])
    labels = (place % 5 == 0).float().expand(items.shape)
    return items, labels, (place < count[:, None]) / count[:, None]


def loss_of_one(p, q, where, labels, weights):
    """p (d,), q (R, d) or (n, d), and for each sample its row in q."""
    z = q[where] @ p
    loss = F.binary_cross_entropy_with_logits
    return loss(z, labels, weights, reduction="sum")


autograd = vmap(grad(loss_of_one, argnums=(0, 1)))

# %% [markdown]
# The round around it has two holes: `rows` says which rows of the table the clients of a chunk receive, `gradients` how
# they differentiate. Steps 2 to 5 fill these holes differently, or cut the clients into other groups. Nothing else
# changes.


# %%
def one_round(shop, groups, gradients, rows):
    P, total = shop.P.clone(), torch.zeros_like(shop.Q)
    for group in groups:
        items, labels, weights = padded(shop, group)
        ids, where = rows(items, len(shop.Q))
        p, sent = P[group], shop.Q[ids]  # (K, d), (K, R, d)
        q = sent
        for _ in range(STEPS):
            to_p, to_q = gradients(p, q, where, labels, weights)
            p, q = p - LR * to_p, q - LR_ITEMS * to_q
        P[group] = p
        change = (q - sent).flatten(0, 1)  # (K R, d)
        total.index_add_(0, ids.flatten(), change)  # clients share items
    return P, shop.Q + total / len(P)


# %%
def whole_table(items, n):
    return torch.arange(n).expand(len(items), n), items


def measure(form, *arguments, repeat=3):
    seconds[form], result = fastest(one_round, *arguments, repeat=repeat)
    same(result, oracle)
    print(f"{form}: {seconds[form]:.2f} s")


groups = torch.arange(m).split(CHUNK)  # in the order of the data
measure("vmap, whole tables", shop, groups, autograd, whole_table, repeat=1)

# %% [markdown]
# The same numbers, and slower than the loop. Each client now has a table of n rows *and a gradient of n rows*, almost all
# of it zeros, and for a whole chunk none of this fits any cache. The loop has the same waste, but one table at a time.
#
# ### 3. Touched rows only
#
# The remedy is the local rows. Gather the rows a client touches, train on them, and add the changes back into the
# table. It is the same loss and the same `vmap`; we just hand it other rows.


# %%
def touched_rows(items, n):
    return local_rows(items)


measure("vmap, touched rows", shop, groups, autograd, touched_rows)

# %% [markdown]
# What about the padding, whose items are not the client's? It points to the row of item 0, whatever that is. Its weight
# is 0, so is its gradient, and the server adds a change of exactly 0. Keep an eye on this argument; it breaks
# below.
#
# ### 4. Gradients in closed form
#
# Automatic differentiation gathers a vector for each *sample*, (K, N, d), and produces a gradient for each of them. But
# the gradients of chapter 3 need an error per sample and one vector per client:
#
# $$
# \begin{aligned}
# e_{ks} &= \omega_{ks}\,\big(\sigma(z_{ks}) - r_{ks}\big), \\
# E_{ki} &= \sum_{s:\,i(s)=i} e_{ks}, \\
# \frac{\partial L_k}{\partial p_k} &= \sum_i E_{ki}\, q_i, \qquad
# \frac{\partial L_k}{\partial q_i} = E_{ki}\, p_k .
# \end{aligned}
# $$ (eq-ch4-closed)
#
# Errors are summed per row *before* they meet a vector, so no (K, N, d) tensor is ever made.


# %%
def closed_form(p, q, where, labels, weights):
    """Gradients for K clients: (K, d) and (K, R, d)."""
    z = torch.bmm(q, p[:, :, None])[:, :, 0].gather(1, where)  # (K, N)
    e = weights * (torch.sigmoid(z) - labels)
    E = torch.zeros(q.shape[:2]).scatter_add_(1, where, e)  # (K, R)
    to_p = torch.bmm(E[:, None], q)[:, 0]
    return to_p, E[:, :, None] * p[:, None]


measure("closed form", shop, groups, closed_form, touched_rows)

# %% [markdown]
# ### 5. Sort, then cut
#
# A chunk is as wide as its longest client, and in the order of the data almost every chunk has a long one.
#
# :::{admonition} Predict, then run
# :class: important
# Which share of the entries is padding, in chunks of 64 in the order of the data? And after sorting the clients by
# length?
# :::


# %%
def padding(shop, groups):
    """The share of padding among all entries (K, N) of a round."""
    counts = [shop.samples.counts[group] for group in groups]
    entries = sum(len(count) * int(count.max()) for count in counts)
    return 1 - int(shop.samples.counts.sum()) / entries


by_length = shop.samples.counts.argsort(stable=True)
tidy = by_length.split(CHUNK)
print(f"padding, order of the data {padding(shop, groups):.0%}")
print(f"padding, sorted by length  {padding(shop, tidy):.0%}")
ENGINE = closed_form, touched_rows
measure("sorted by length", shop, tidy, *ENGINE)
glue("speedup", seconds["loop"] / seconds["sorted by length"])

# %% mystnb={"image": {"alt": "Horizontal bars on a logarithmic axis of seconds for five forms of the same round. Whole tables under vmap take longest, longer than the plain loop. Touched rows, closed form and sorting are each shorter than the one before."}, "figure": {"caption": "Vectorising alone made the round slower. What helps is moving fewer numbers: touched rows, then closed-form gradients, then less padding. All five forms compute the same round; best of up to three runs, one thread.", "name": "fig-ch4-forms"}}
ax = plots.axes("CPU seconds per round (logarithmic)", "", 7.5, 3.4)
bars = ax.barh(list(seconds), list(seconds.values()))
ax.bar_label(bars, fmt="%.2f", padding=4)
ax.set_xscale("log")
ax.margins(x=0.12)
ax.grid(visible=False, axis="y")
ax.invert_yaxis()

# %% [markdown]
# From the loop to the last form it is a factor of {glue:text}`speedup:.0f` ({numref}`fig-ch4-forms`). That is no property
# of the code alone. The two forms with whole tables pay for the catalogue, the others for what clients did:

# %% mystnb={"image": {"alt": "Seconds per round of a hundred clients against the number of items, both logarithmic. The curves of the loop and of vmap with whole tables rise with the catalogue; the curve of the engine stays nearly flat."}, "figure": {"caption": "Whole tables cost more the longer the catalogue is; touched rows hardly notice it. So the factor between loop and engine is a matter of the catalogue, and not one number. A hundred made-up clients; best of a few runs, whole tables one.", "name": "fig-ch4-catalogue"}}
rows = []
for size in (1000, 4000, 16_000, 64_000)[: 2 if PROFILE == "smoke" else 4]:
    few = crowd(100, size)
    cut = few.samples.counts.argsort(stable=True).split(CHUNK)
    row = {"items": size, "loop": fastest(loop_round, few, repeat=2)[0]}
    row["engine"] = fastest(one_round, few, cut, *ENGINE)[0]
    if size <= 16_000:
        table = fastest(one_round, few, cut, autograd, whole_table, repeat=1)
        row["vmap, whole tables"] = table[0]
    rows.append(row)
ax = plots.axes("items in the catalogue", "CPU seconds per round")
for form in ("vmap, whole tables", "loop", "engine"):
    plots.curve(ax, pd.DataFrame(rows), form, form, x="items")
ax.set(xscale="log", yscale="log")
_ = ax.legend()

# %% [markdown]
# ### How large should a chunk be?
#
# Large chunks mean fewer trips through Python. Small ones mean that a chunk's rows are still in the processor's
# cache when the next operation needs them, and less padding.
#
# :::{admonition} Predict, then run
# :class: important
# Draw the curve of seconds against chunk size, from one client at a time to all at once. Where do the sorted and the
# unsorted curve meet?
# :::


# %%
def try_chunk(size, order):
    """Seconds of a round, share of padding, nanoseconds per entry."""
    cut = order.split(size)
    taken, result = fastest(one_round, shop, cut, *ENGINE, repeat=2)
    same(result, oracle)
    share = padding(shop, cut)
    entries = len(shop.samples.items) / (1 - share)
    return taken, f"{share:.0%}", round(1e9 * taken / entries)


sizes = [2**i for i in range(9) if 2**i < m] + [m]
columns = ["seconds", "padding", "ns per entry"]
tried = {}
for label, order in [("as it comes", torch.arange(m)), ("sorted", by_length)]:
    rows = [try_chunk(size, order) for size in sizes]
    tried[label] = pd.DataFrame(rows, sizes, columns)
pd.concat(tried, axis=1).rename_axis("chunk").drop(columns="seconds", level=1)

# %% mystnb={"image": {"alt": "Seconds per round against chunk size, both logarithmic. The sorted curve falls to a flat valley between about 8 and 64 clients and rises again. The unsorted curve falls less and rises earlier. Both end in the same point, all clients in one chunk."}, "figure": {"caption": "A chunk of some dozen clients is best on this processor: smaller ones pay for Python, larger ones for padding and for leaving the cache. Made-up clients, best of two runs, one thread.", "name": "fig-ch4-chunk"}}
ax = plots.axes("clients in a chunk", "CPU seconds per round")
for label, table in tried.items():
    table = table.rename_axis("chunk").reset_index()
    plots.curve(ax, table, "seconds", label, x="chunk")
ax.set_xscale("log", base=2)
ax.set_yscale("log")
_ = ax.legend()

# %% [markdown]
# The table separates the two reasons. Its `ns per entry` counts entries real or padded: it falls while Python's share
# shrinks, and rises again where tensors outgrow the cache. On a graphics card the valley lies elsewhere, so `chunk` is an
# argument of `federate`; its default is 32 clients on a CPU and many more on a GPU.
#
# Does the engine keep its speed for more clients? {numref}`fig-ch4-clients` says yes.

# %% mystnb={"image": {"alt": "Seconds per round against the number of clients. Two nearly straight lines through the origin: the steep one of the loop ends at a thousand clients, the flat one of the engine at four thousand."}, "figure": {"caption": "Time grows in proportion to the clients for both; no chunk knows how many others there are. Made-up clients with one catalogue; best of two runs, the loop one.", "name": "fig-ch4-clients"}}
rows = []
for size in [m // 8, m // 4, m // 2, m, 2 * m, 4 * m]:
    many = crowd(size, n)
    cut = many.samples.counts.argsort(stable=True).split(CHUNK)
    taken, result = fastest(one_round, many, cut, *ENGINE, repeat=2)
    row = {"clients": size, "engine": taken}
    if size <= m:
        row["loop"], expected = fastest(loop_round, many, repeat=1)
        same(result, expected)
    rows.append(row)
ax = plots.axes("clients", "CPU seconds per round")
for form in ("loop", "engine"):
    plots.curve(ax, pd.DataFrame(rows), form, form, x="clients")
_ = ax.legend()

# %% [markdown]
# ### Random numbers that do not depend on the cut
#
# A round needs random numbers: counterexamples, the order of samples, dropout. A usual generator has a state, and every
# draw advances it. Cut the clients differently, and each client gets other numbers. The engine would then be a
# different experiment for every chunk size, and comparing it with a loop would be impossible.
#
# `fedlib.rng` advances nothing. A draw is a hash (SplitMix64 {cite}`steele2014splitmix`) of what it is for: seed,
# purpose, round, client, counter.

# %%
clients = torch.tensor([7, 2, 5])


def hashed(clients):
    return rng.integers(1000, rng.key(0, "negatives", 3), clients)


def advanced(clients):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1000, clients.shape, generator=generator)


draws = {}
for kind in (hashed, advanced):
    draws[f"{kind.__name__}, order 7 2 5"] = kind(clients).tolist()
    backwards = kind(clients.flip(0)).flip(0)
    draws[f"{kind.__name__}, order 5 2 7"] = backwards.tolist()
assert hashed(clients)[1] == hashed(torch.tensor(2))  # alone as in company
pd.DataFrame(draws, [f"client {c}" for c in clients.tolist()]).T

# %% [markdown]
# ## From the blank cell to the package
#
# Now to `federate`, on the small made-up shop. With its draws and a batch larger than any client, an epoch of the package
# is a full-batch step of ours, however many clients it trains at once: one after the other, with `chunk=1`, or all of them.


# %%
def from_split(split):
    """A shop with the values and negatives the package draws in round 0."""
    users, own = split.train.users[:, None], split.train.items[:, None]
    sampler = NegativeSampler(split.train, split.data.n_items)
    which = own * 4 + torch.arange(4)
    drawn = sampler.draw(rng.key(0, "negatives", 0), users, which)
    items = torch.cat([own, drawn], dim=1)  # (nnz, 5)
    pairs = users.expand_as(items).flatten(), items.flatten()
    samples = UserItems.from_pairs(*pairs, split.data.n_users)
    P = values("init user", split.data.n_users)
    return Shop(P, values("init table item", split.data.n_items), samples)


small = load("synthetic").leave_one_out(seed=0)
ours = from_split(small)
cut = ours.samples.counts.argsort(stable=True).split(CHUNK)
mine = one_round(ours, cut, *ENGINE)
same(mine, loop_round(ours))

# %%
FULL_BATCH = LocalTraining(
    epochs=STEPS,
    batch=100_000,
    lr=LR,
    lr_items=LR_ITEMS,
    negatives_from="unobserved",
)


def package_round(model, **how):
    """P and Q after a round on the small shop, and the seconds of it."""
    how |= {"local": FULL_BATCH, "rounds": 1, "device": "cpu"}
    result = federate(small, model, **how)
    after = result.state.private["user"], result.state.tables["item"]
    return after, result.history["seconds"].item()


# %%
package_round(FedMF(dim=32))  # warm up
rows = {}
for how in (
    {"chunk": 1},
    {"chunk": 7},
    {"chunk": 32},
    {"chunk": 200},
):
    theirs, taken = package_round(FedMF(dim=32), **how)
    same(mine, theirs)
    off = float((mine[1] - theirs[1]).abs().max())
    how = ", ".join(f"{name} = {value}" for name, value in how.items())
    rows[how] = {"largest difference": off, "seconds": taken}
pd.DataFrame(rows).T

# %% [markdown]
# Four ways of cutting, one result, up to the last bit or so of 32-bit numbers: sums in another order round differently. Here
# is where your lines live in the package.
#
# | blank cell | package | what it adds |
# |---|---|---|
# | `padded` | `cohort.build` | draws negatives, keeps every sample's identity |
# | `local_rows` | `cohort.LocalRows` | the same without sorting |
# | `closed_form` | `linear_gradients` | a bias; the outer product stays unmultiplied |
# | `autograd` | `Backbone.gradients` | any model you can write, several tables |
# | three steps in a row | `training.train` | batches, epochs, Adam, dropout, clients that finish early |
# | `total.index_add_` | `sums.Sums` | weights, per-row means, other uploads |
# | `by_length.split` | `cohort.chunks` | participants only |
#
# So a new model needs no engine work at all. Write it for *one* client, as FedNCF does below; closed forms are for
# the few models worth the trouble.
#
# :::{literalinclude} ../fedlib/backbones/fedncf.py
# :language: python
# :pyobject: FedNCF.forward
# :::
#
# ## What leaves the device?
#
# Speed is our problem; bytes are the clients'. The ledger lists what each of them uploads in one round:

# %%
name = "synthetic" if PROFILE == "smoke" else "ml-100k"
split = load(name).leave_one_out(seed=0)
UNOBSERVED = LocalTraining(negatives_from="unobserved")
bills = {}
for model in (FedMF(dim=32), FedNCF(dim=32), PFedRec(dim=32)):
    once = federate(split, model, local=UNOBSERVED, rounds=1)
    bills[type(model).__name__] = once.ledger
upload = pd.concat(bills, names=["model", None]).query("direction == 'up'")
columns = ["tensor", "shape", "dtype", "bytes_per_client"]
upload = upload.reset_index(level=0)[["model", *columns]]
glue("mf_bytes", int(upload.query("model == 'FedMF'").bytes_per_client.sum()))
upload.reset_index(drop=True)

# %% [markdown]
# The item table dwarfs everything else: for FedMF {glue:text}`mf_bytes:,` bytes up, and as many down. FedNCF's network
# is small change beside its two tables, and its per-row mean needs one more upload, which rows were touched. That
# list is the attack of [chapter 3](03_federated_loop.ipynb) on a plate: it contains the whole history.
#
# How much of the table does a client really change, and what would it save to send only that?

# %%
inside = from_split(split).samples
pairs = torch.stack([inside.users, inside.items]).unique(dim=1)
touched = torch.bincount(pairs[0]).double()  # (m,)
rows_sent = int(touched.median())
glue("touched_share", rows_sent / split.data.n_items)

bill = {}
for catalogue in (split.data.n_items, 10_000, 100_000, 1_000_000):
    whole, sparse = catalogue * 32 * 4, rows_sent * (32 * 4 + 4)
    row = {"whole table, MB": whole / 1e6, "touched rows, MB": sparse / 1e6}
    bill[f"{catalogue:,}"] = row | {"ratio": whole / sparse}
pd.DataFrame(bill).T.rename_axis("items").round(2)

# %% [markdown]
# The median client touches {glue:text}`touched_share:.0%` of the rows in a round, chosen and drawn together. With a
# catalogue of a million items the whole table is out of the question for a phone, while the touched rows stay what they
# are. But they tell the server the row set, so the ledger bills the whole table. (The engine itself never moves those
# bytes: it may gather touched rows because it *is* the client.)
#
# ### Multiplications
#
# One local step of MF by hand, for a client with R local rows: scores cost $Rd$ multiplications and additions,
# $\partial L/\partial p$ as many, the outer product $Rd$ multiplications, the update $Rd$ of both. That makes $4Rd$
# multiply-adds, near enough. PyTorch has a counter; what does it say?


# %%
def counted(a_step, *arguments):
    with FlopCounterMode(display=False) as counter:
        a_step(*arguments)
    return counter.get_total_flops()


def one_step(gradients, rows, group):
    """The counted FLOPs of a step, and the local rows of the group."""
    items, labels, weights = padded(shop, group)
    ids, where = rows(items, n)
    arguments = shop.P[group], shop.Q[ids], where, labels, weights
    return counted(gradients, *arguments), ids.numel()


group = by_length[m // 2 : m // 2 + 16]
flops, R = one_step(closed_form, touched_rows, group)
by_vmap, _ = one_step(autograd, touched_rows, group)
by_tables, _ = one_step(autograd, whole_table, group)
assert flops == 2 * (2 * R * 32)  # two products, two FLOPs a multiply-add
one = shop.samples[int(group[0])]
plain = counted(train_one, shop.P[0], shop.Q, one, torch.ones(len(one)))
print(f"closed form, 16 clients: {flops:,}")
print(f"autograd, touched rows:  {by_vmap:,}")
print(f"autograd, whole tables:  {by_tables:,}")
print(f"the loop's client:       {plain:,}")

# %% [markdown]
# `FlopCounterMode` counts matrix products (and convolutions and attention), two FLOPs for a multiply-add, and nothing
# else. In the closed form it sees two of our four terms, exactly. It sees no difference between touched rows and whole
# tables, although one is many times slower: the extra work is zeros being made, copied and added. And it finds that the
# loop's client computes nothing at all, since a matrix times a *vector* is not on its list.
#
# Our step does about one multiply-add for each number it fetches, so memory sets the pace. FLOPs predict time for large
# dense layers; here count the bytes that move.
#
# ## Experiment
#
# What do bytes buy? We compare FedMF with 32 and with 8 factors, PFedRec and FedNCF, beside random, popularity and
# local-only (FedMF, nothing shared). Rounds differ in price, so they get different numbers of them. Rates and rounds
# were chosen on ML-100K's validation items with seed 0, from four to nine settings each; local-only's rate is that of
# [chapter 3](03_federated_loop.ipynb). All draw `"unobserved"` negatives: sparing held-out items, as published code
# does, leaks the future, and most of all into PFedRec's personal rows.
#
# :::{admonition} Predict, then run
# :class: important
# FedMF with 8 factors sends a quarter of the bytes of FedMF with 32. Will it be worse after the same number of rounds?
# And after the same number of bytes?
# :::

# %%
MF = {"lr": 3.16, "lr_items": 1000.0}
METHODS = {  # the model, its rounds, and how a client trains
    "FedMF, d = 32": (FedMF(dim=32), 40, MF),
    "FedMF, d = 8": (FedMF(dim=8), 60, MF),
    "PFedRec": (PFedRec(dim=32), 20, {"lr": 0.316, "lr_items": 40_000.0}),
    "FedNCF": (FedNCF(dim=32), 12, {"lr": 0.1, "optimizer": "adam"}),
    "local-only": (FedMF(dim=32).alone(), 4, {"lr": 10.0}),
}
SEEDS = (0, 1, 2)


def run(method, seed):
    model, rounds, rates = METHODS[method]
    local = LocalTraining(negatives_from="unobserved", **rates)
    rounds = rounds // 4 if PROFILE == "smoke" else rounds
    how = {"rounds": rounds, "evaluate_every": 4, "seed": seed}
    return federate(split, model, local=local, **how)


runs = {method: [run(method, seed) for seed in SEEDS] for method in METHODS}

# %%
popular = evaluate(Popularity().fit(split), split)
random = [evaluate(Chance(seed).fit(split), split) for seed in SEEDS]
rankings = {"random": random, "popularity": [popular]}
rankings |= {name: [r.ranking() for r in rs] for name, rs in runs.items()}

table = pd.DataFrame(index=list(rankings))
for metric in ("HR@10", "NDCG@10"):
    for method, seeds in rankings.items():
        scores = [ranking.metrics((10,))[metric] for ranking in seeds]
        mean, spread = mean_and_spread(scores)
        shown = f"{mean:.3f}" + (len(scores) > 1) * f" ± {spread:.3f}"
        table.loc[method, metric] = shown
for method, results in runs.items():
    sent = results[0].ledger["bytes_per_client"].sum()
    rounds = len(results[0].history)
    fast = min(r.history["seconds"].min() for r in results)
    table.loc[method, "rounds"] = f"{rounds}"
    table.loc[method, "kB a round"] = f"{sent / rounds / 1e3:,.0f}"
    table.loc[method, "MB in all"] = f"{sent / 1e6:.1f}"
    table.loc[method, "seconds a round"] = f"{fast:.2f}"
size = f"{split.data.n_users:,} users, {split.data.n_items:,} items"
glue("protocol", f"{name}, {size}, test items {split.test_sha256[:8]}")
table.fillna("")

# %% [markdown]
# *{glue:text}`protocol` (first digits of their sha256). Leave-one-out by time; the test item is ranked against 99
# negatives drawn once, equal scores count half, K = 10. Four training negatives for each chosen item, drawn anew in
# every round from the items outside the training list. All clients in every round. Mean and standard deviation over
# seeds 0 to 2. Bytes are both directions of one client; seconds are wall clock, the fastest round, without
# evaluation.*


# %%
def per_user(method):
    """Each user's HR@10, averaged over seeds, (m,)."""
    hits = [seed.per_user((10,))["HR@10"] for seed in rankings[method]]
    return (sum(hits) / len(hits)).to_numpy()


intervals = {}
for first, second in [
    ("FedMF, d = 32", "FedMF, d = 8"),
    ("FedMF, d = 32", "PFedRec"),
    ("FedMF, d = 32", "FedNCF"),
    ("FedMF, d = 32", "popularity"),
    ("local-only", "random"),
]:
    found = paired_bootstrap(per_user(first), per_user(second))
    intervals[f"{first} − {second}"] = vars(found)
size = intervals["FedMF, d = 32 − FedMF, d = 8"]
glue("size_low", size["low"])
glue("size_high", size["high"])
shown = pd.DataFrame(intervals).T.round(3)
shown.columns = ["difference in HR@10", "from", "to"]
shown

# %% mystnb={"image": {"alt": "HR@10 against megabytes received and sent by one client, with bands. FedMF with 8 factors rises steepest and ends after about 6 megabytes near the level that FedMF with 32 factors reaches after about 13. PFedRec rises faster than FedMF with 32 factors for the first 7 megabytes. FedNCF passes the popularity line slowly. Local-only is one point at zero bytes and one tenth."}, "figure": {"caption": "Per byte the small FedMF is the best buy here: a quarter of the factors means a quarter of the bytes a round, and no visible loss in the end. Mean and range over three seeds; leave-one-out, 99 fixed negatives, unobserved training negatives.", "name": "fig-ch4-bytes"}}
ax = plots.axes("megabytes a client has received and sent", "HR@10")
for method, results in runs.items():
    histories = [result.history for result in results]
    for history in histories:
        both = history["bytes_down"] + history["bytes_up"]
        history["MB"] = both.cumsum() / split.data.n_users / 1e6
    plots.curve(ax, pd.concat(histories), "HR@10", method, x="MB")
plots.level(ax, popular.metrics((10,))["HR@10"], "popularity")
_ = ax.legend()


# %%
def after(method, rounds):
    """Mean HR@10 and bytes of a client after some rounds."""
    rows = [result.history.iloc[rounds - 1] for result in runs[method]]
    hr = sum(row["HR@10"] for row in rows) / len(rows)
    return float(hr), float(rows[0]["MB"])


last = {method: len(results[0].history) for method, results in runs.items()}
large, small_one = "FedMF, d = 32", "FedMF, d = 8"
glue("large_at_40", after(large, last[large])[0])
glue("small_at_40", after(small_one, last[large])[0])
bytes_large, bytes_small = (after(x, last[x])[1] for x in (large, small_one))
glue("size_bytes", bytes_small / bytes_large)

# %% [markdown]
# The two FedMFs end level: the interval of their difference, from {glue:text}`size_low:+.3f` to
# {glue:text}`size_high:+.3f`, contains zero. The small one needed more rounds, and yet sent {glue:text}`size_bytes:.0%`
# of the bytes. After the same 40 rounds it stands at {glue:text}`small_at_40:.3f` against {glue:text}`large_at_40:.3f`.
# We see no use for the other twenty-four factors on these data, with this model and these rates.
#
# Do not read the table as a contest between models. PFedRec and FedNCF got fewer rounds because theirs are slower, and
# in {numref}`fig-ch4-bytes` PFedRec is ahead of FedMF with 32 factors for the first megabytes, byte for byte. FedNCF
# has no closed form, and in Adam two more tensors for every row; this is what its seconds pay for. Local-only sends
# nothing and stays at chance, as [chapter 3](03_federated_loop.ipynb) explains.
#
# ## Break it
#
# ### Assignment instead of accumulation
#
# Suppose somebody writes `scatter_` for `scatter_add_` in the closed form. Nothing crashes. Every repeated item then
# keeps one of its errors and loses the others. And the padding, which all points to the row of item 0, overwrites
# that row's error with 0.


# %%
def careless(p, q, where, labels, weights):
    z = torch.bmm(q, p[:, :, None])[:, :, 0].gather(1, where)
    e = weights * (torch.sigmoid(z) - labels)
    E = torch.zeros(q.shape[:2]).scatter_(1, where, e)  # the slip
    to_p = torch.bmm(E[:, None], q)[:, 0]
    return to_p, E[:, :, None] * p[:, None]


wrong = one_round(ours, cut, careless, touched_rows)
users = ours.samples.users
pairs = torch.stack([users, ours.samples.items]).unique(dim=1)
repeats = ours.samples.counts - torch.bincount(pairs[0])
off = (wrong[0] - mine[0]).abs().amax(1) > 1e-6  # (m,)
print(f"samples lost to repetition: {int(repeats.sum()):,} of {len(users):,}")
print(f"clients with a wrong user vector: {int(off.sum())} of {len(off)}")
assert off[repeats > 0].all()

# %% [markdown]
# Every client is wrong a little. The loss would still go down, and the table of results would look plausible. Only the
# comparison with an oracle finds such a slip; that is why this chapter compares before it times.
#
# ### A finished client that goes on
#
# We argued that padding is harmless because its gradient is 0. That holds for plain SGD. With weight decay
# $\lambda$ a step is $p \leftarrow p - \eta\,(g + \lambda p)$, and $g = 0$ no longer means "stay". With mini-batches the
# clients of a chunk run out of samples at different steps:
#
# :::{admonition} Predict, then run
# :class: important
# Ada has four samples, Ben two. In batches of two, with $\eta\lambda = \tfrac1{10}$, what happens to Ben's vector
# during Ada's second batch?
# :::

# %%
DECAY = 0.1


def two_batches(frozen):
    """Lengths of Ada's and Ben's vector after each batch of two."""
    p, q = torch.ones(2, 4), torch.zeros(2, 6, 4)
    lengths = []
    for start in (0, 2):
        where = items[:2, start : start + 2]
        active = start < count[:2]  # (K,)
        weights = active[:, None] / 2 * torch.ones(2, 2)
        labels = torch.tensor([1.0, 0.0]).expand(2, 2)
        to_p, _ = closed_form(p, q, where, labels, weights)
        step = to_p + DECAY * p
        p = p - (step * active[:, None] if frozen else step)
        lengths.append([round(float(x), 3) for x in p.norm(dim=1)])
    return lengths


print("going on:", two_batches(frozen=False))
print("frozen:  ", two_batches(frozen=True))
assert two_batches(True)[1][1] == two_batches(True)[0][1]

# %% [markdown]
# Ben shrinks although he has finished, and how much depends on who else is in his chunk: the result is no longer a
# property of the method. Adam's momentum does the same. The package sorts a chunk by length, so the clients that have
# finished come first, and every step simply begins at the first active one:

# %%
decaying = LocalTraining(
    batch=20,
    weight_decay=0.01,
    lr_items=100.0,
    negatives_from="unobserved",
)
results = []
for size in (1, 200):
    how = {"rounds": 2, "chunk": size, "device": "cpu"}
    results.append(federate(small, FedMF(dim=8), local=decaying, **how).state)
alone, together = results
same(alone.tables.values(), together.tables.values())
same(alone.private.values(), together.private.values())

# %% [markdown]
# A third way to break the engine costs no correctness, only time: the right end of {numref}`fig-ch4-chunk`.
#
# ## Paper beside ours
#
# FedAvg's paper {cite}`mcmahan2017` counts *rounds*, because on phones communication is the bottleneck. Simulators count
# seconds. FedJAX {cite}`ro2021fedjax` and pfl-research {cite}`granqvist2024pfl` report speed in their abstracts:

# %%
ours_text = f"{seconds['loop'] / seconds['sorted by length']:.0f} times"
claims = [
    ["FedAvg", "10 to 100 times fewer rounds", "synchronised SGD"],
    ["FedJAX", "EMNIST: a few minutes", "standard settings, TPUs"],
    ["FedJAX", "Stack Overflow: about an hour", "standard settings, TPUs"],
    ["pfl-research", "7 to 72 times faster", "other open-source simulators"],
    ["this chapter", ours_text, f"its own loop, {m} clients, {n} items"],
]
pd.DataFrame(claims, columns=["source", "claim", "against, or on"])

# %% [markdown]
# Our last row cannot be compared with the others. It is one machine, one thread, one model, against a loop we wrote
# ourselves, and {numref}`fig-ch4-catalogue` shows that a longer catalogue would have made it larger. Simulators train
# dense networks, where a whole model per client is the right thing; a recommender's client touches a sliver of its model.
# What they and we share are ideas: no process per client, clients grouped by length, running sums in place of a list of
# models.
#
# ## Exercises
#
# :::{exercise} ★ Warm-up: the bill of touched rows
# :label: ex-ch4-bill
# Write two functions of a client's local rows $R$ and the dimension $d$: the bytes of an upload that holds the touched
# rows and a 32-bit index for each, and the FLOPs that `FlopCounterMode` counts in one step in closed form.
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# A number takes four bytes. Two of the step's four terms are matrix products, two FLOPs for each multiply-add.
#
# </details>


# %% tags=["exercise"]
def upload_bytes(R, d):
    return None  # your code


def step_flops(R, d):
    return None  # your code


rows = shop.Q[:R]
sent = rows.numel() * rows.element_size() + 4 * len(rows)
book.check(upload_bytes(R, 32), sent)
book.check(step_flops(R, 32), flops)

# %% [markdown]
# :::{solution-start} ex-ch4-bill
# :label: sol-ch4-bill
# :class: dropdown
# :::
#
# A row is $d$ numbers and an index. The scores and the gradient of $p$ are products with $Rd$ multiply-adds each.


# %% tags=["solution"]
def upload_bytes(R, d):
    return R * (4 * d + 4)


def step_flops(R, d):
    return 2 * (2 * R * d)


rows = shop.Q[:R]
sent = rows.numel() * rows.element_size() + 4 * len(rows)
book.check(upload_bytes(R, 32), sent)
book.check(step_flops(R, 32), flops)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} ★★ Build: the per-row mean of a chunk
# :label: ex-ch4-rows
# FedNCF's server divides the change of a row by the number of clients that touched *this row*. Extend the round by
# that. The round is given below; write `touches`, which marks the local rows that a client really touched. The
# difficulty is the padding: it points to the row of item 0 and must not count.
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# Add the weights of the samples up per local row with `scatter_add_`. A row that only padding points to has the sum 0.
#
# </details>


# %%
def per_row_round(shop, groups, touches):
    """The new table if ``touches`` marks the local rows of a chunk."""
    total, votes = torch.zeros_like(shop.Q), torch.zeros(len(shop.Q))
    for group in groups:
        items, _, weights = padded(shop, group)
        ids, where = local_rows(items)
        marks = touches(ids, where, weights)  # (K, R)
        votes.index_add_(0, ids.flatten(), marks.flatten())
        _, after = one_round(shop, [group], *ENGINE)
        total += (after - shop.Q) * len(shop.P)
    return shop.Q + total / votes.clamp(min=1)[:, None]


by_row = FedMF(dim=32)
by_row.aggregate_items = "row"
theirs = package_round(by_row)[0][1]


# %% tags=["exercise"]
def touches(ids, where, weights):
    """(K, R): 1.0 where a real sample points to the local row, else 0."""
    return None  # your code


norm = None
if touches(ids, local, weights) is not None:  # the five readers
    norm = float(per_row_round(ours, cut, touches).norm())
book.check(norm, float(theirs.norm()))

# %% [markdown]
# :::{solution-start} ex-ch4-rows
# :label: sol-ch4-rows
# :class: dropdown
# :::
#
# Real weights are positive, so a sum above 0 is a touch, repeated or not. `ids` also has unused slots at the end of short
# clients; nothing points to them, and their sum is 0 as well.


# %% tags=["solution"]
def touches(ids, where, weights):
    """(K, R): 1.0 where a real sample points to the local row, else 0."""
    mass = torch.zeros(ids.shape).scatter_add_(1, where, weights)
    return (mass > 0).float()


norm = None
if touches(ids, local, weights) is not None:  # the five readers
    norm = float(per_row_round(ours, cut, touches).norm())
book.check(norm, float(theirs.norm()))

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} ★★★ Research: quality per byte with fewer clients
# :label: ex-ch4-share
# Give the federation a fixed bill: the bytes of 15 rounds of FedMF (32 factors) with all clients. Spend it with a
# smaller share of clients in more rounds. Is it better bought that way? And who pays?
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# A round with a tenth of the clients costs a tenth of the bytes. `clients_per_round=0.1`, and ten times the rounds.
#
# </details>


# %% tags=["exercise"]
def spend(share, full_rounds=15):
    """A run with this share of the clients and the same bill."""
    return None  # your code


def paid(result):
    """Bytes of a run, in rounds with all clients."""
    whole = 2 * split.data.n_users * split.data.n_items * 32 * 4
    return float(result.ledger["bytes"].sum() / whole)


yours = spend(0.1)
book.check(yours if yours is None else paid(yours), 15.0, tolerance=0.01)

# %% [markdown]
# :::{solution-start} ex-ch4-share
# :label: sol-ch4-share
# :class: dropdown
# :::
#
# The rates stay as they are: a mean over a tenth of the clients estimates the mean over all, with more noise.


# %% tags=["solution"]
def spend(share, full_rounds=15):
    """A run with this share of the clients and the same bill."""
    return federate(
        split,
        FedMF(dim=32),
        local=LocalTraining(negatives_from="unobserved", **MF),
        clients_per_round=share,
        rounds=round(full_rounds / share),
        evaluate_every=round(2 / share),
    )


def paid(result):
    """Bytes of a run, in rounds with all clients."""
    whole = 2 * split.data.n_users * split.data.n_items * 32 * 4
    return float(result.ledger["bytes"].sum() / whole)


yours = spend(0.1)
book.check(yours if yours is None else paid(yours), 15.0, tolerance=0.01)

# %% mystnb={"image": {"alt": "HR@10 against the bytes sent, in rounds with all clients, for three shares of clients in a round. One tenth rises steepest, three tenths next; all clients is the lowest curve throughout, and passes the popularity line last."}, "figure": {"caption": "For the same bytes, fewer clients in more rounds learn faster, because the server averages more often. Seed 0; leave-one-out, 99 fixed negatives, unobserved training negatives.", "name": "fig-ch4-share"}}
ax = plots.axes("bytes sent, in rounds with all clients", "HR@10")
for share in (0.1, 0.3, 1.0):
    history = (yours if share == 0.1 else spend(share)).history
    both = (history["bytes_down"] + history["bytes_up"]).cumsum()
    history["paid"] = 15 * both / both.iloc[-1]
    plots.curve(ax, history, "HR@10", f"{share:.0%} of the clients", x="paid")
plots.level(ax, popular.metrics((10,))["HR@10"], "popularity")
_ = ax.legend()

# %% [markdown]
# On MovieLens 100K the smaller share is the better buy by far, until its curve flattens ({numref}`fig-ch4-share`). A mean over a tenth of the
# clients is noisier, but there are ten of them for the bytes of one, each from an improved table. Who pays? The clock: ten
# rounds in a row wait for ten sets of stragglers. And a client that is drawn seldom trains its vector seldom. With one
# seed this is an observation; run three before you tell anybody, and look at the users who were drawn least.
#
# :::{solution-end}
# :::
#
# ## Quiz
#
# **1.** Why was `vmap(grad)` over whole tables slower than the loop, although it has no Python loop over clients?
#
# <details class="option"><summary>vmap computes other gradients</summary>
#
# **No.** They are the same up to rounding; `measure` compares them before it prints a time.
#
# </details>
# <details class="option"><summary>it makes and moves a full table and a full gradient for all clients of a chunk at once</summary>
#
# **Right.** Almost all of these numbers are zeros or copies, and together they fit no cache.
#
# </details>
# <details class="option"><summary>it does more matrix products</summary>
#
# **No.** The FLOP counter finds the same number for whole tables and for touched rows.
#
# </details>
#
# **2.** A client drew an item twice. Which operation gives the item's gradient?
#
# <details class="option"><summary><code>E[k, where] = e</code></summary>
#
# **No.** One of the two errors overwrites the other.
#
# </details>
# <details class="option"><summary><code>E[k, where] += e</code></summary>
#
# **No.** It reads, adds and writes as a whole: both write their own sum, and one survives.
#
# </details>
# <details class="option"><summary><code>E.scatter_add_(1, where, e)</code></summary>
#
# **Right.** It accumulates, one after the other.
#
# </details>
#
# **3.** Look at {numref}`fig-ch4-chunk`. Why do both curves end in one point?
#
# <details class="option"><summary>with a single chunk everybody is padded to the longest, in whatever order</summary>
#
# **Right.** Sorting helps only where there is a cut.
#
# </details>
# <details class="option"><summary>sorting takes as long as it saves</summary>
#
# **No.** Sorting a thousand lengths is not noticeable; at medium chunk sizes it saves most of the time.
#
# </details>
# <details class="option"><summary>the cache is full in both cases, so padding no longer matters</summary>
#
# **No.** Padding matters as much as ever; there is equally much of it.
#
# </details>
#
# **4.** A run with chunks of 32 clients and one with chunks of 7 differ in HR@10 by several points. What do you suspect?
#
# <details class="option"><summary>rounding</summary>
#
# **No.** Rounding changes the last digits of a table and at most a rank here and there.
#
# </details>
# <details class="option"><summary>random numbers or frozen clients that depend on the chunk</summary>
#
# **Right.** A stateful generator, or a finished client moved by weight decay or momentum, ties the result to the cut.
#
# </details>
# <details class="option"><summary>nothing, chunks are a hyper-parameter</summary>
#
# **No.** A chunk is a matter of the simulation; no device knows that it exists.
#
# </details>
#
# **5.** Uploading touched rows only would save most bytes for a large catalogue. Why does the ledger bill the whole table?
#
# <details class="option"><summary>because the engine really moves whole tables</summary>
#
# **No.** It gathers touched rows; the ledger bills the protocol, not the simulation.
#
# </details>
# <details class="option"><summary>because the list of touched rows contains the history</summary>
#
# **Right.** Who sends it saves bytes and gives away which items were chosen or drawn.
#
# </details>
# <details class="option"><summary>because sparse tensors cannot be averaged</summary>
#
# **No.** They can: FedNCF's per-row mean does, and so did your exercise.
#
# </details>
#
# ## Summary
#
# - A thousand clients fit in one tensor: pad with weight 0, number each client's items, add changes back by index.
# - The speed comes from moving fewer numbers: touched rows instead of tables, one vector a client instead of one a
#   sample, sorted lengths instead of padding, chunks that stay in the cache. `vmap` alone made it slower.
# - Every form equals the loop to rounding, and so does the package, whatever the chunk. Random numbers by counting
#   make that possible; accumulating and freezing keep it true.
# - Bytes grow with catalogue, factors, rounds and clients, not with what a client did. Fewer factors are the
#   cheapest way to send less.
# - FLOPs say little about a step that does one multiplication for each number it fetches.
#
# **What next?** The next part of the book puts more backbones into this engine, and asks what each of them gives away.
#
# **Further reading.** {cite:t}`ro2021fedjax` show how little code a federated algorithm needs when clients are
# functions. {cite:t}`granqvist2024pfl` take simulators apart and time them against each other with care.
# {cite:t}`steele2014splitmix` explain random numbers that can be split and counted. {cite:t}`mcmahan2017` is worth a
# second look now: read its tables as bills.
