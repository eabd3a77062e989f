# %% [markdown]
# # Privacy: what an update says, and what silences it
#
# A device that keeps its history still talks about it. In this chapter you read histories out of what is sent, take
# each protection apart until you see what it hides and from whom, and pay for it in hits.

# %% cellView="form" tags=["setup", "hide-input"]
# @title Set-up: run this cell first
import importlib.util

if importlib.util.find_spec("fedlib") is None:
    raise ModuleNotFoundError("fedlib is missing: pip install it from a copy of its repository")

from fedlib import book

PROFILE = book.start()

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
import torch

from fedlib import FedMF, LocalTraining, federate, load, rng
from fedlib.attacks import Eavesdropper
from fedlib.book import plots
from fedlib.protect.messages import Masked
from fedlib.protect.packing import pack
from fedlib.protect.quantize import Quantizer
from fedlib.protect.secagg import secure_sum

shop = load("synthetic").leave_one_out(seed=0)
n, m, d = shop.data.n_items, shop.data.n_users, 16
LOCAL = LocalTraining(lr=1.0, lr_items=200.0, negatives_from="unobserved")
ROUNDS = 10
tap = Eavesdropper()
run = {"local": LOCAL, "rounds": ROUNDS, "evaluate_every": ROUNDS}
trained = federate(shop, FedMF(d), protect=tap, device="cpu", **run)
changes = [seen.change() for seen in tap.seen if seen.party == "server"]
changes = torch.stack(changes[-m:][:20])  # (20, n, d), of the last round
reader = next(s.clients[0] for s in tap.seen[::-1] if len(s.clients) == 1)

# %% tags=["remove-cell"]
clients = [s.clients[0] for s in tap.seen if s.party == "server"][-m:][:20]
grid = Quantizer(clip=64.0, bits=24)
codes = grid.encode(changes, rng.key(0, "round"), torch.tensor(clients)).codes
plain = pack({"item": codes}, n_max=20, largest=grid.largest)  # (20, n d)
outcome = secure_sum(plain, seed=0, transcript=True)
veiled = next(s for s in outcome.seen if isinstance(s, Masked)).vector
size = float(2 ** (8 * veiled.itemsize))
own = shop.train[clients[0]].tolist()

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels over the 300 books of a shop. Left, how far each row of one reader's update moves along its main direction: zero for most books, orange bars upwards for chosen books, blue bars downwards for drawn ones. Right, the same rows under a mask: grey points all over the panel without any pattern."}, "figure": {"caption": "One reader's update twice: as a plain federation sends it (left) and as it arrives under secure aggregation (right). The sum over twenty readers is the same.", "name": "fig-ch16-story"}}
_, panels = plt.subplots(1, 2, figsize=(9.0, 3.4))
along = changes[0] @ torch.linalg.svd(changes[0], full_matrices=False).Vh[0]
along = along if along[own].sum() > 0 else -along
books = torch.arange(n)
mine = torch.isin(books, torch.tensor(own))
for part, kind in ((mine, 1), (~mine, 0)):
    look = {"linefmt": f"C{kind}", "markerfmt": " ", "basefmt": " "}
    name = ("not chosen", "chosen")[kind]
    panels[0].stem(books[part], along[part], label=name, **look)
panels[0].set(xlabel="book", ylabel="change of its row", title="plain")
low, high = panels[0].get_ylim()
panels[0].set_ylim(low - 0.2 * (high - low), high)  # room for the names
panels[0].legend(loc="lower left", ncols=2, fontsize=10)
shares = veiled.astype(float).reshape(n, d)[:, 0] / size
panels[1].plot(books, shares, ".", color=plots.FAINT)
_ = panels[1].set(xlabel="book", ylabel="word / R", title="masked")

# %% [markdown]
# :::{admonition} At a glance
# :class: tip
# - **You will** attack updates, counts, score functions and finished models; add up in secret with pencil and paper and
#   then with keys; bound and drown what one reader can say; and read quality against ε.
# - **You need** the loop of [chapter 3](03_federated_loop.ipynb) and the attacks of
#   [chapter 5](05_item_gradients.ipynb).
# - **Data** MovieLens 100K {cite}`harper2015movielens`, for research use and not redistributed here, as finished rows;
#   the made-up shop `synthetic` for all attacks and all protocols.
# - **Sources** secure aggregation {cite}`bonawitz2017secagg` on {cite:t}`shamir1979share`; user-level privacy
#   {cite}`mcmahan2018dp`; local noise of FedPerGNN {cite}`wu2022fedpergnn`; the noise of FedMR {cite}`fedmr`, Table 4;
#   membership {cite}`yeom2018membership`.
# :::
#
# ## Entry check
#
# **1.** Chapter 5 took a FedMF client's history from one update. What did it need?
#
# <details class="option"><summary>the user vector</summary>
#
# **No.** It found the vector's direction along the way; it had not been sent.
#
# </details>
# <details class="option"><summary>the rows that moved, and to which side</summary>
#
# **Right.** Chosen books move along the vector and drawn ones against it.
#
# </details>
# <details class="option"><summary>many rounds</summary>
#
# **No.** One full-batch step was enough.
#
# </details>
#
# **2.** Ten numbers are added up modulo 16, one of them uniform on 0 to 15 and known to nobody. What does the sum say
# about the others?
#
# <details class="option"><summary>nothing</summary>
#
# **Right.** Each value of the sum is equally likely, whatever the others are.
#
# </details>
# <details class="option"><summary>their parity</summary>
#
# **No.** The uniform number is odd half of the time, and takes the parity with it.
#
# </details>
# <details class="option"><summary>roughly how large they are</summary>
#
# **No.** Modulo 16 there is no large and small left.
#
# </details>
#
# **3.** An average over 100 rounds is taken of one number plus fresh noise of standard deviation 1. How much noise is
# left?
#
# <details class="option"><summary>1</summary>
#
# **No.** Independent noise partly cancels in an average.
#
# </details>
# <details class="option"><summary>a tenth</summary>
#
# **Right.** It falls with the square root of the number of rounds.
#
# </details>
# <details class="option"><summary>a hundredth</summary>
#
# **No.** That would need noise that alternates; independent noise falls with the square root.
#
# </details>

# %%
import math

import numpy as np
import pandas as pd

from fedlib import LocalDP, PlainNoise, SecureAggregation, UserLevelDP
from fedlib.attacks import attack_table, membership, rows_by_sign
from fedlib.attacks.table import losses
from fedlib.backbones import FCF, FedAvg
from fedlib.book import glue
from fedlib.protect.accounting import calibrate, zcdp_epsilon

# %% [markdown]
# ## What is said without protection
#
# The server is honest and curious. `attack_table` trains a federation with an ear at the wire and tries every attack of
# the package on forty readers. Two columns are guesses of the same size: the most popular books, and any books. An attack
# that does not beat the first has found out nothing. The counts say how many of a client's items stand on each shelf of the
# shop, and everybody can look up what stands where. They are not FedSLLM's {cite}`fedsllm`, which go by the predictions of
# the client's own model ([chapter 11](11_fedsllm.ipynb)): an attacker would know less about those.

# %%
shelf = pd.factorize(shop.data.catalogue["categories"])[0]
HEARD = {"local": LOCAL, "rounds": 6, "victims": 40, "device": "cpu"}
NONE = {"none": None}
prototype = torch.tensor(shelf)
bare = attack_table(shop, FedMF(d), NONE, prototype=prototype, **HEARD)


class OpenHead(FedAvg):
    owners = {}  # the head, a user vector in disguise, is sent as well


HEADS = LocalTraining(lr=0.3, lr_items=100.0, negatives_from="unobserved")
opened = attack_table(shop, OpenHead(d), NONE, **HEARD | {"local": HEADS})
head = opened[opened["attack"].str.startswith("change of the head")]
found = pd.concat([bare.query("party == 'server'"), head.iloc[:1]])
columns = ["attack", "found", "exact", "precision", "recall"]
found[[*columns, "popularity", "random"]].set_index("attack").round(2)

# %% tags=["remove-cell"]
by_name = found.set_index("attack")
glue("ch16-exact", float(by_name.loc["sides of rows", "exact"]))
glue("ch16-counts", float(by_name.loc["counts", "precision"]))
glue("ch16-popular", float(by_name.loc["counts", "popularity"]))
glue("ch16-head", float(head["precision"].iloc[0]))
glue("ch16-six", float(by_name.loc["touched in every round", "exact"]))

# %% [markdown]
# From one update the sides of the rows give {glue:text}`ch16-exact:.0%` of the histories away, exactly. Six lists of
# touched rows do it for {glue:text}`ch16-six:.0%`, even if the values were encrypted. Counts by shelf lift a guess's
# precision from {glue:text}`ch16-popular:.2f` to {glue:text}`ch16-counts:.2f`: not a history, but not nothing. FedSLLM's
# paper says that its feedback "does not disclose any privacy to the server". Those counts were not attacked here; a
# promise would need a bound, and the paper gives none. The change of a head reaches {glue:text}`ch16-head:.2f`, hardly
# above popularity: with 300 books on 16 numbers too many histories have the same sum.
#
# ## Adding up in secret, by hand
#
# Five readers, six books, a 1 for each that was chosen. The server wants the column sums and nothing else. Every pair
# agrees on a row of random numbers modulo 16; the one with the smaller number adds it, the other subtracts it.

# %%
R = 16
CHOSEN = torch.tensor(
    [
        [1, 1, 0, 0, 0, 1],
        [1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [0, 1, 0, 0, 1, 0],
        [1, 0, 0, 0, 1, 1],
    ]
)


def pair_mask(u, v):
    stream = rng.key(0, "pair", min(u, v), max(u, v))
    return rng.integers(R, stream, torch.arange(6))


def masked_row(u, everybody):
    row = CHOSEN[u].clone()
    for v in everybody:
        if v != u:
            row += pair_mask(u, v) if u < v else -pair_mask(u, v)
    return row % R


# %%
names = ["Ada", "Ben", "Cem", "Dora", "Eve"]
sent = torch.stack([masked_row(u, range(5)) for u in range(5)])
total = sent.sum(0) % R
assert total.tolist() == CHOSEN.sum(0).tolist()
table = pd.DataFrame(sent, index=names, columns=list("ABCDEF"))
table.loc["sum modulo 16"] = total.tolist()
table.loc["true sum"] = CHOSEN.sum(0).tolist()
table

# %% [markdown]
# :::{admonition} Predict, then run
# :class: important
# Eve's phone dies after everybody has agreed on masks and before she sends. What does the sum of the other four rows
# show? And what would the server have to be told to repair it?
# :::

# %%
without = sent[:4].sum(0) % R
leftover = sum(pair_mask(u, 4) for u in range(4))
print("sum of four:         ", without.tolist())
print("their true sum:      ", CHOSEN[:4].sum(0).tolist())
print("less Eve's pair masks", ((without - leftover) % R).tolist())
assert ((without - leftover) % R).tolist() == CHOSEN[:4].sum(0).tolist()

# %% [markdown]
# Four masks have lost their counterparts. Told Eve's masks, the server can take them off. But if Eve was only *late*, her
# row arrives now, and the server holds all that hides it. So every client adds one more mask of its own, and the server
# is told *either* a client's pair masks, if it dropped out, *or* its own mask, if its row has come: never both. Who tells,
# if the client is gone? The others, because it has given each of them a share of both secrets.
#
# A secret is the value at 0 of a random polynomial of degree $t-1$ over a prime field, and a share its value elsewhere
# {cite}`shamir1979share`. Any $t$ shares give it back,
#
# $$
# f(0) = \sum_i y_i \prod_{j\neq i} \frac{x_j}{x_j - x_i} \pmod p ,
# $$ (eq-ch16-shamir)
#
# and $t-1$ shares fit every secret equally well.


# %%
def secret_of(shares, p):
    value = 0
    for x, y in shares:
        for other, _ in shares:
            if other != x:
                y = y * other * pow(other - x, -1, p) % p
        value += y
    return value % p


line = [(x, (7 + 3 * x) % 11) for x in (1, 2, 3)]  # the secret 7, t = 2
assert secret_of(line[:2], 11) == secret_of(line[1:], 11) == 7
fits = {guess for guess in range(11) for a in range(11)
        if (guess + a * 1) % 11 == line[0][1]}  # fmt: skip
assert fits == set(range(11))  # one share excludes nothing

# %% [markdown]
# ## Five rounds
#
# Over a network nobody agrees on masks in person. Two public keys make one secret by Diffie and Hellman's exchange, and a
# key is stretched into a mask by a cipher. Every client also has a key to *sign* with, registered with somebody other
# than the server, which otherwise could invent clients. What passes {cite}`bonawitz2017secagg`:
#
# | round | a client sends | and the server learns |
# |---|---|---|
# | advertise | two public keys, signed | who is there |
# | share | a sealed box for each other client, with shares of its two secrets | nothing: it cannot open them |
# | mask | its vector plus all masks | noise |
# | sign | its signature on the list of those whose vectors came | nothing new; clients check what the others have signed |
# | unmask | shares of own masks of those whose vectors came, of key pairs of those who did not | the sum |
#
# The package's roles can be played one message at a time. Client 2 stops after the second round.

# %%
from fedlib.protect.keys import SeededEntropy
from fedlib.protect.roles import Server, registered

words = CHOSEN.numpy().astype(np.uint32)
group = registered(4, [SeededEntropy(0, 0, u) for u in range(5)])
server = Server(threshold=4)
roster = server.roster([one.advertise() for one in group])
boxes = server.route([box for one in group for box in one.share(roster)])
alive = [0, 1, 3, 4]
hidden = [group[u].mask(words[u], boxes[u]) for u in alive]
for message in hidden:
    server.add(message)
request = server.request()
signed = server.agreement([group[u].sign(request) for u in alive])
answers = [group[u].unmask(signed) for u in alive]
sum_of_four = server.total(answers)
assert sum_of_four.tolist() == words[alive].sum(0).tolist()
print("a key:     ", roster[0].sealing.hex()[:24], "...")
print("Ada's row: ", words[0].tolist())
print("she sends: ", hidden[0].vector.tolist())
print("asked for: ", request)
print("the sum:   ", sum_of_four.tolist())

# %% [markdown]
# The threshold $t$ has a price on both sides. Fewer than $t$ answers, and the round is lost. But a server may *lie*: it
# tells some clients that Ada's row came and others that it did not, and each story needs $t$ shares. An honest client
# answers one story. The $c$ clients on the server's side answer both, so $n - c$ honest ones have to suffice for two groups
# of $t - c$, and that is so as soon as
#
# $$
# c \ge 2t - n .
# $$ (eq-ch16-lie)
#
# With $t = 3$ of 5, just above half, one client is enough to unmask Ada. With $t > 2n/3$, the default, it takes more than
# a third. The signatures are no cure for two stories, since a liar's helpers sign both. They stop *many*: told a list each,
# and asked for no signatures, five honest clients with $t = 3$ give the sum of two away. So a client reveals nothing
# without $t$ signatures on the list that it has signed itself.
#
# Is the masked vector really noise? Split the words of the story's update into 16 classes.

# %%
veils = [s.vector for s in outcome.seen if isinstance(s, Masked)]
high = np.concatenate(veils) / size  # 20 readers' words, in [0, 1)
count, _ = np.histogram(high, bins=16, range=(0, 1))
bare_count, _ = np.histogram(plain / size, bins=16, range=(0, 1))
each = len(high) / 16
chi2 = float(((count - each) ** 2 / each).sum())
glue("ch16-chi2", chi2)
glue("ch16-classes", int((bare_count > 0).sum()))
glue("ch16-words", len(high))
assert chi2 < 37.7  # what uniform words exceed once in a thousand times

# %% [markdown]
# The plain words fall into {glue:text}`ch16-classes` of 16 classes. The {glue:text}`ch16-words:,` masked ones have a
# chi-square of {glue:text}`ch16-chi2:.1f`; uniform words have 15 on average. What the server adds up, it cannot read.
#
# ## Bounding and drowning one reader
#
# A sum hides who said what, but is exact. Somebody who knows all others' data reads the last reader's off the sum.
# **User-level differential privacy** {cite}`mcmahan2018dp,dwork2006` promises more: whatever is published is almost as
# likely with a reader as without. A client scales its *whole* update down to a norm $S$; the server adds noise to the sum
# and divides by the clients it *expects*, because how many came is itself a fact about somebody:
#
# $$
# \bar\Delta = \frac{1}{qm} \Big( \sum_u \Delta_u \min\big(1, \tfrac{S}{\lVert \Delta_u \rVert}\big)
# + \mathcal N(0, z^2 S^2) \Big) .
# $$ (eq-ch16-dp)
#
# One reader moves the sum by $S$ at most, and the noise is $z$ times that, in each coordinate. With all readers in each of
# $T$ rounds, $\rho = T / 2z^2$ and, for every $\delta$,
#
# $$
# \epsilon = \rho + 2 \sqrt{\rho \ln (1/\delta)} .
# $$ (eq-ch16-zcdp)


# %%
def my_epsilon(z, rounds, delta):
    rho = rounds / (2 * z**2)
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))


DELTA, T, M, NUMBERS = 1e-5, 100, 943, 1682 * 32  # ML-100K, FedMF
rows = []
for target in (2, 8, 32, 128):
    z = calibrate(target, DELTA, 1.0, T, "all")
    row = {"epsilon": target, "noise multiplier z": z}
    row["by the pencil"] = my_epsilon(z, T, DELTA)
    row["odds, but for δ"] = f"at most e^{target}"
    row["noise / S in a round"] = z * math.sqrt(NUMBERS) / M
    rows.append(row)
pd.DataFrame(rows).set_index("epsilon").round(2)

# %% [markdown]
# The last column is the norm of the mean's noise over the largest norm the mean can have. It is above one for small
# $\epsilon$: a single round is mostly noise, and what is learned comes from the rounds adding up in one direction. More
# readers would help, since the column falls with $1/m$; more items harm. As to the odds: at $\epsilon = 2$ an observer's
# belief about one reader may shift by a factor of seven, and by more with a probability of about $\delta$; at 128 the
# number promises nothing anybody could use.
#
# :::{admonition} Predict, then run
# :class: important
# {eq}`eq-ch16-dp` is about what is *published*. Under this protection, what can the server itself read from the clipped
# updates before it adds the noise?
# :::
#
# **Local differential privacy** trusts nobody: each client adds noise itself. FedPerGNN {cite}`wu2022fedpergnn` clips
# every *number* to $\pm c$, adds Laplace noise of scale $s$, so that each is $2c/s$-private in each round, and hides the
# touched rows among pseudo-items. That is a promise about one number. A client sends tens of thousands, in every round,
# and budgets add up.
#
# **Plain noise**, as in FedMR's Table 4 {cite}`fedmr`, adds $\mathcal N(0, 0.1)$ and clips nothing. It has no privacy
# guarantee: there is no bound on what an update says, and so no $\epsilon$.
#
# An attacker with patience adds up. The noise is new in each round, and the history is not.

# %%
heard = {}
noisy = {"plain noise": PlainNoise(), "local DP": LocalDP()}
for name, place in noisy.items():
    heard[name] = Eavesdropper(place)
    more = {"rounds": 16, "evaluate_every": 16}
    federate(shop, FedMF(d), protect=heard[name], device="cpu", **run | more)
rows = []
for name, ear in heard.items():
    for reader in range(25):
        truth = set(shop.train[reader].tolist())
        parts = torch.stack([s.change() for s in ear.of(reader)])
        for t in (1, 2, 4, 8, 16):
            guess = rows_by_sign(parts[:t].sum(0), len(truth))
            hit = len(guess & truth) / len(truth)
            rows.append({"rounds": t, "protection": name, "hit": hit})
patience = pd.DataFrame(rows).groupby(["protection", "rounds"]).mean()

# %% mystnb={"image": {"alt": "Share of a reader's history that is found, over the number of rounds listened to, on a logarithmic axis from 1 to 16, for plain noise and local noise. Both curves climb steeply, from a low share after the first round to most of the history after sixteen."}, "figure": {"caption": "Fresh noise on the same secret wears off: who adds up what one reader sends finds most of the history within sixteen rounds (made-up shop, mean over 25 readers, history length known).", "name": "fig-ch16-patience"}}
ax = plots.axes("rounds listened to", "share of the history found")
for name in noisy:
    flat = patience.loc[name].reset_index()
    plots.curve(ax, flat, "hit", name, x="rounds")
ax.set(xscale="log", ylim=(0, 1.05), xticks=[1, 2, 4, 8, 16])
ax.set_xticklabels([1, 2, 4, 8, 16])
ax.minorticks_off()
_ = ax.legend()

# %% [markdown]
# {numref}`fig-ch16-patience` is question 3 of the entry check. Neither protection was built for it.
#
# ## What leaves the device?
#
# Who finds how much, under which protection? The best attack of each party, all rounds at hand. "Outside" gets the model
# only, before and after each round; "model" has a reader's finished model with its private parts.

# %%
PROTECT = {
    "nothing": None,
    "secure sum": SecureAggregation(clip=64.0, bits=28, exact=True),
    "user-level DP, ε = 8": UserLevelDP(clip=3.0, epsilon=8.0),
    "local DP": LocalDP(),
    "plain noise": PlainNoise(),
}
measured = attack_table(shop, FedMF(d), PROTECT, **HEARD)
best = measured.groupby(["protection", "party"])["precision"].max()
best = best.unstack().loc[list(PROTECT), ["server", "outside", "model"]]
member = measured.query("attack == 'membership'")
best["membership, AUC"] = member.set_index("protection")["auc"]
bytes_up = {}
for name, place in PROTECT.items():
    one = {"local": LOCAL, "rounds": 1, "device": "cpu"}
    log = federate(shop, FedMF(d), protect=place, **one).ledger
    log = log.query("direction == 'up'")
    bytes_up[name] = log["bytes_per_client"].sum() / 1000
best["KB up"] = pd.Series(bytes_up)
guess = float(measured["popularity"].max())
glue("ch16-guess", guess)
best.round(2)

# %% [markdown]
# A popularity guess has a precision of at most {glue:text}`ch16-guess:.2f`, so numbers near it are nothing found. Read the
# table by columns. The *server* is stopped by the secure sum alone. User-level DP leaves it everything: it sees the
# clipped updates and is trusted to add the noise, so the two belong together. *Outside* sees means over all readers and
# finds little even without protection; DP is what turns "little" into a promise. The *model* in a reader's own hands is
# covered by nothing here: no protection of uploads is about it.
#
# The secure sum has five rows in the ledger, one for each round of the protocol. Its vector is twice as large as the plain
# one, because a word has to hold the sum of all; a client's keys and shares grow with the group, and those of all clients
# together with its square.

# %%
log = federate(
    shop, FedMF(d), protect=PROTECT["secure sum"], local=LOCAL, rounds=1,
    device="cpu",
).ledger  # fmt: skip
log[["direction", "tensor", "shape", "dtype", "bytes_per_client"]]

# %% [markdown]
# ## From the blank cell to the package
#
# Three witnesses: our interpolation opens the package's shares, our {eq}`eq-ch16-zcdp` is the package's, and our clipped
# and noised mean is the one the package publishes.

# %%
from fedlib.protect.mechanisms import gaussian_sum_noise
from fedlib.protect.shamir import PRIME, share

secret = bytes(range(32))
shares = share(secret, range(1, 6), 3, SeededEntropy(0, 0, 0))
mine = secret_of([tuple(one) for one in shares[1:4]], PRIME)
assert mine.to_bytes(32, "little") == secret
assert math.isclose(my_epsilon(5, 100, 1e-5), zcdp_epsilon(5, 100, 1e-5))

S, z = 2.0, 0.5
once = {"local": LOCAL, "rounds": 1, "device": "cpu"}
raw = Eavesdropper()
private = Eavesdropper(UserLevelDP(clip=S, noise_multiplier=z))
for ear in (raw, private):
    federate(shop, FedMF(d), protect=ear, **once)
sums = torch.zeros(n, d)
for u in range(m):
    delta = raw.of(u)[0].change()
    sums += delta * min(1, S / float(delta.norm()))
stream = rng.key(rng.key(0, "user-level dp", 0), "item")
mine = (sums + gaussian_sum_noise((n, d), z * S, stream)) / m
theirs = private.of(0, "outside")[0].change()
torch.testing.assert_close(mine, theirs.to(mine), rtol=1e-4, atol=1e-6)
print(f"largest difference {(mine - theirs).abs().max():.0e}")

# %% [markdown]
# The accountant of the package is a little tighter than the pencil:
# `epsilon` follows Rényi's divergence at many orders and takes sampled clients into account. In the loop a protection is
# a place like any other, `federate(..., protect=UserLevelDP(clip=3.0, epsilon=8.0))`, and the history tells what has been
# spent.
#
# ## Experiment
#
# What does each protection cost on MovieLens 100K? `fedlib reproduce privacy` trained FedMF under each, with the rates
# chosen for the run without protection. What a protection has to choose itself, the bound on an update, is chosen on
# *validation* items among the stored rows. Both choices look at the users' own items, and what they give away is not in
# our $\epsilon$ {cite}`papernot2022tuning`. A secure sum has no row: it is the plain run, but for the rounding.
#
# :::{admonition} Predict, then run
# :class: important
# At which $\epsilon$ does the private model lose its advantage over the popularity ranker, which needs only one number per
# film, and could be had with far less noise?
# :::

# %%
from fedlib.evaluation.stats import mean_and_spread, paired_bootstrap
from fedlib.reproduce import per_user, read_rows

stored = read_rows("privacy", "ml-100k")
board = read_rows("leaderboard", "ml-100k")  # runs without protection


def of(cell):
    """A cell's rows; without a protection in its name, the board's."""
    if "/" in cell:
        return [r for r in stored if r["cell"] == cell]
    return [r for r in board if r["cell"] == f"loo99/unobserved/{cell}"]


def chosen(family):
    """The family's cell that is best on validation items."""
    cells = {r["cell"] for r in stored if r["cell"].startswith(family)}

    def score(cell):
        return np.mean([r["valid_metrics"]["NDCG@10"] for r in of(cell)])

    return max(sorted(cells), key=score)


# %%
LINES = {name: of(name) for name in ("random", "popularity", "local-only")}
LINES["FedMF, nothing"] = of("fedmf")
EPS = (128, 32, 8, 2)
for e in EPS:
    LINES[f"user-level DP, ε = {e}"] = of(chosen(f"fedmf/user-dp/{e}/"))


def users(name):
    return np.mean([per_user(r, "HR@10") for r in LINES[name]], axis=0)


def less(name, other):
    """The difference in HR@10, with its interval over users."""
    gap = paired_bootstrap(users(name), users(other))
    ends = f"[{gap.low:+.3f}, {gap.high:+.3f}]"
    return "" if name == other else f"{gap.mean_difference:+.3f} {ends}"


# %%
table = {}
for name, found in LINES.items():
    hr = [r["metrics"]["HR@10"] for r in found]
    centre, spread = mean_and_spread(hr)
    bound = found[0].get("protect", {}).get("clip", "")
    table[name] = {"HR@10": centre, "spread": spread, "seeds": len(found)}
    table[name]["clip"] = bound
    table[name]["less FedMF's"] = less(name, "FedMF, nothing")
    table[name]["less popularity's"] = less(name, "popularity")
results = pd.DataFrame.from_dict(table, orient="index")


def short(x):
    return f"{x:.3f}".replace("nan", "") if isinstance(x, float) else x


first = LINES["FedMF, nothing"][0]
print("sha256 of the test items:", first["test_sha256"][:12])
results.map(short)

# %% [markdown]
# MovieLens 100K, leave-one-out, K = 10 of 100 candidates, expected rank for ties, negatives "unobserved", test items as
# in the sha256 above. Mean and spread over as many seeds as a row has; 95 % intervals of the seeds' mean by paired
# bootstrap over the users.

# %% tags=["remove-cell"]
hr10 = results["HR@10"]
glue("ch16-hr", float(hr10["FedMF, nothing"]))
glue("ch16-hr8", float(hr10["user-level DP, ε = 8"]))
glue("ch16-hr128", float(hr10["user-level DP, ε = 128"]))
glue("ch16-pop", float(hr10["popularity"]))
glue("ch16-hr2", float(hr10["user-level DP, ε = 2"]))
for e in (8, 2):
    name = f"user-level DP, ε = {e}"
    gap = paired_bootstrap(users(name), users("popularity"))
    side = "above" if gap.low > 0 else "below" if gap.high < 0 else "no"
    told = {"above": "above popularity", "below": "below popularity"}
    glue(f"ch16-gap{e}", less(name, "popularity"))
    glue(f"ch16-side{e}", told.get(side, "not to be told from popularity"))

# %% tags=["hide-input"] mystnb={"image": {"alt": "HR@10 over epsilon from 2 to 128 on a logarithmic axis, one curve for user-level privacy with the clip chosen on validation, thin curves for each clip. The curve of the chosen clip climbs with epsilon from about the dashed line of popularity to well above it, and stays below the dashed line of the unprotected run."}, "figure": {"caption": "What user-level privacy costs FedMF on 943 users: the stronger the promise, the less is left of what FedMF gains on a popularity ranker (MovieLens 100K, mean over the seeds of a row, with their range where it has several; faint: every clip that was tried).", "name": "fig-ch16-epsilon"}}
ax = plots.axes("ε at δ = 1e-5, after 100 rounds", "HR@10")
curve = [
    {"eps": e, "hr": r["metrics"]["HR@10"]}
    for e in EPS for r in LINES[f"user-level DP, ε = {e}"]
]  # fmt: skip
plots.curve(ax, pd.DataFrame(curve), "hr", "clip by validation", x="eps")
for clip in ("0.1", "0.316", "1", "3.16", "10", "31.6"):
    tried = {e: of(f"fedmf/user-dp/{e}/{clip}") for e in EPS}
    mean = {e: np.mean([r["metrics"]["HR@10"] for r in found])
            for e, found in tried.items() if found}  # fmt: skip
    faint = {"color": plots.FAINT, "linewidth": 0.8, "markersize": 4}
    ax.plot(mean.keys(), mean.values(), **faint)
for name in ("FedMF, nothing", "popularity", "random"):
    plots.level(ax, hr10[name], name)
ax.set(xscale="log", xticks=EPS, xticklabels=EPS, ylim=(0, 0.75))
ax.minorticks_off()
_ = ax.legend(loc="center", bbox_to_anchor=(0.6, 0.32))

# %% [markdown]
# {numref}`fig-ch16-epsilon`: without protection {glue:text}`ch16-hr:.3f`; with $\epsilon = 128$
# {glue:text}`ch16-hr128:.3f`, with 8 {glue:text}`ch16-hr8:.3f`, with 2 {glue:text}`ch16-hr2:.3f`, and popularity has
# {glue:text}`ch16-pop:.3f`. With $\epsilon = 8$ the model is {glue:text}`ch16-side8` ({glue:text}`ch16-gap8`), with 2 it
# is {glue:text}`ch16-side2` ({glue:text}`ch16-gap2`). With 943 readers a serious promise is expensive; the noise is divided
# by their number, so a million would pay a thousandth of it.
#
# Noise that the clients add themselves takes far longer to simulate, one number for each client and coordinate, so here is
# the made-up shop, live. Look at the differences.

# %%
QUICK = PROFILE == "smoke"
SEEDS = (0,) if QUICK else (0, 1, 2)
LIVE = LocalTraining(lr=1.0, lr_items=1000.0, negatives_from="unobserved")


def live(model, protect, local, seed, rounds=4 if QUICK else 30):
    end = federate(
        shop, model, protect=protect, local=local, rounds=rounds, seed=seed,
        evaluate_every=rounds, device="cpu",
    )  # fmt: skip
    return end.per_user()["HR@10"].to_numpy()


CASES = {
    "nothing": None,
    "variance 0.1 on differences": PlainNoise(variance=0.1),
    "variance 0.1 on gradients": PlainNoise(variance=0.1 * 1000.0**2),
    "local DP, ε = 1 a number": LocalDP(),
}
hits = {}
for name, place in CASES.items():
    each = [live(FedMF(d), place, LIVE, seed) for seed in SEEDS]
    hits[name] = np.mean(each, axis=0)

# %%
from fedlib.centralized import Popularity, evaluate

only = evaluate(Popularity().fit(shop), shop, ks=(10,)).metrics((10,))
table = {"popularity": {"HR@10": only["HR@10"]}}
for name, hit in hits.items():
    gap = paired_bootstrap(hit, hits["nothing"])
    table[name] = {"HR@10": hit.mean(), "less nothing's": gap.mean_difference,
                   "from": gap.low, "to": gap.high}  # fmt: skip
made_up = pd.DataFrame(table).T
glue("ch16-noise", float(made_up.loc["variance 0.1 on differences", "HR@10"]))
glue("ch16-bare", float(made_up.loc["nothing", "HR@10"]))
loud = float(made_up.loc["variance 0.1 on gradients", "HR@10"])
glue("ch16-loud", loud)
moved = changes[changes != 0].abs()  # the story's updates
glue("ch16-cut", float((moved > LocalDP().clip).float().mean()))
made_up.round(3)

# %% [markdown]
# Noise of variance 0.1 on what is uploaded leaves {glue:text}`ch16-noise:.3f` of {glue:text}`ch16-bare:.3f`: the mean over
# the readers takes it away, and {numref}`fig-ch16-patience` has shown how little it hides. Taken as noise on *gradients*,
# with an item rate of 1000 between the two, the same 0.1 leaves {glue:text}`ch16-loud:.3f`. A variance without the rate
# says nothing.
#
# Nor does a bound. FedPerGNN clips *gradients*; `LocalDP` clips the uploaded differences, here at ±0.1, which are gradients
# times the rate. Already of the story's updates, with an item rate of 200, it cuts {glue:text}`ch16-cut:.0%` of the numbers
# that moved. Its row, and its curve in {numref}`fig-ch16-patience`, are those of that bound at these rates, not of
# FedPerGNN.
#
# ## What no protection hides
#
# Who took part, and when. That a device has the app. The published model itself: what it has learned of the many is meant
# to be known, and a reader whose taste is everybody's is guessed from it, private or not. What a device holds, if somebody
# else holds the device. And whatever is sent beside the protected part: in `fedlib` counts are refused under user-level
# DP, because its noise would not cover them.
#
# ## Break it
#
# The knob is *who is in the sum*. Two exact sums, one with a reader and one without, in the same round of the same model:

# %%
deltas = torch.stack([raw.of(u)[0].change() for u in range(m)])


def stolen(z, victim, stream):
    """What the difference of two sums with noise z S gives away."""
    scale = (S / deltas.flatten(1).norm(dim=1)).clamp(max=1)
    clipped = deltas * scale[:, None, None]
    with_, without = clipped.sum(0), clipped.sum(0) - clipped[victim]
    for number, total in enumerate((with_, without)):
        key = rng.key(0, "differencing", victim, number, stream)
        total += gaussian_sum_noise((n, d), z * S, key).float()
    truth = set(shop.train[victim].tolist())
    guess = rows_by_sign(with_ - without, len(truth))
    return len(guess & truth) / len(truth)


rows = [
    {"z": z, "hit": np.mean([stolen(z, v, i) for v in range(25)])}
    for z in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0) for i in range(2)
]  # fmt: skip
broken = pd.DataFrame(rows)
exact = np.mean([stolen(0.0, v, 0) for v in range(25)])
glue("ch16-exact-sums", float(exact))

# %% mystnb={"image": {"alt": "Share of a reader's history found from the difference of two sums, over the noise multiplier from 0.001 to 1 on a logarithmic axis. It is close to one for tiny noise and falls to the dashed line of a random guess well before a noise multiplier of one."}, "figure": {"caption": "Two exact sums that differ in one reader are that reader. Noise of a fraction of the bound in each coordinate is what ends the attack, not the sum (made-up shop, mean over 25 readers, two draws).", "name": "fig-ch16-difference"}}
ax = plots.axes("noise multiplier z", "share of the history found")
plots.curve(ax, broken, "hit", "difference of two sums", x="z")
plots.level(ax, len(shop.train.items) / m / n, "random guess")
ax.set(xscale="log", ylim=(0, 1.05))
_ = ax.legend()

# %% [markdown]
# Secure aggregation is intact and useless: without noise the difference finds {glue:text}`ch16-exact-sums:.0%` of the
# history ({numref}`fig-ch16-difference`). Sums protect if groups are large and *drawn anew by somebody who is not the
# attacker*; noise protects whoever composes them.
#
# ## Paper beside ours
#
# FedMR's Table 4 adds noise of variance 0.1 to uploaded gradients on one data set. Ours are the *vanilla* models, other
# data, another ranking. Only the relative loss is set side by side, for the two models that are one table and a head, and
# under both readings of "0.1".

# %%
CLAIMED = {  # FedMR, Table 4: HR@50 without and with noise, KU
    "FedAvg": (0.5147, 0.4969),
    "FCF": (0.5539, 0.5378),
}
RATE = 100.0
heads = LocalTraining(lr=0.3, lr_items=RATE, negatives_from="unobserved")
beside = {}
for name, (before, after) in CLAIMED.items():
    model = {"FedAvg": FedAvg(d), "FCF": FCF(d)}[name]
    runs = {}
    for variance in (None, 0.1, 0.1 * RATE**2):
        place = variance and PlainNoise(variance=variance)
        each = [live(model, place, heads, seed) for seed in SEEDS]
        runs[variance] = np.mean(each, axis=0)
    beside[name] = {"claimed, with FedMR": after / before - 1}
    bare = runs.pop(None)
    for reading, hit in zip(("differences", "gradients"), runs.values(),
                            strict=True):  # fmt: skip
        beside[name][f"ours, on {reading}"] = hit.mean() / bare.mean() - 1
pd.DataFrame(beside).T.map("{:+.1%}".format)

# %% [markdown]
# The paper reads its losses as the price of privacy. With 204 users a loss of three percent of .5 is three users, inside
# the error of its table; and what was bought is not stated, because without a bound there is nothing to state.
#
# ## Exercises

# %% [markdown]
# :::{exercise} ★ Warm-up: too few, too many
# :label: ex-ch16-threshold
# Some clients take part with a threshold of $t$. How many may drop out before the last round, and how many must side with
# a server that tells two stories until it can unmask somebody?
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# Both are about the number of shares at hand. Who gives shares for both stories?
#
# </details>


# %% tags=["exercise"]
def may_drop_and_must_lie(clients, t):
    return None  # your code


book.check(may_drop_and_must_lie(20, 11), [9, 2])
book.check(may_drop_and_must_lie(20, 14), [6, 8])

# %% [markdown]
# :::{solution-start} ex-ch16-threshold
# :label: sol-ch16-threshold
# :class: dropdown
# :::
#
# At least $t$ must answer. The second is {eq}`eq-ch16-lie`: with 11 of 20 two helpers are enough, with 14, the default, it
# takes eight.


# %% tags=["solution"]
def may_drop_and_must_lie(clients, t):
    return [clients - t, 2 * t - clients]


book.check(may_drop_and_must_lie(20, 11), [9, 2])
book.check(may_drop_and_must_lie(20, 14), [6, 8])

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} ★★ Build: clip the whole, not the parts
# :label: ex-ch16-clip
# An update has two tensors, a table and a network. Write `clip_all(parts, S)` so that no client moves the *sum of all
# tensors* by more than $S$. Clipping each tensor to $S$ by itself is the usual mistake: by what factor is it off?
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# One norm over all numbers, one factor for all tensors.
#
# </details>


# %% tags=["exercise"]
def clip_all(parts, S):
    return None  # your code


parts = [torch.full((3, 4), 1.0), torch.full((13,), -1.0)]  # norm 5
clipped = clip_all(parts, 2.0)
norm = clipped and sum(float(x.square().sum()) for x in clipped) ** 0.5
book.check(norm, 2.0)

# %% [markdown]
# :::{solution-start} ex-ch16-clip
# :label: sol-ch16-clip
# :class: dropdown
# :::
#
# Two tensors of norm $S$ each have a norm of $\sqrt 2\,S$ together, so the noise would be too small by that factor, and
# every $\epsilon$ computed from it wrong.


# %% tags=["solution"]
def clip_all(parts, S):
    norm = sum(float(x.square().sum()) for x in parts) ** 0.5
    return [x * min(1.0, S / norm) for x in parts]


parts = [torch.full((3, 4), 1.0), torch.full((13,), -1.0)]  # norm 5
clipped = clip_all(parts, 2.0)
norm = clipped and sum(float(x.square().sum()) for x in clipped) ** 0.5
book.check(norm, 2.0)

# %% [markdown]
# :::{solution-end}
# :::
#
# :::{exercise} ★★★ Research: when does a model remember?
# :label: ex-ch16-members
# The membership attack says of a pair with a small loss that it was trained on {cite}`yeom2018membership`. Measure its
# AUC on the finished models, with their private parts, of a client that shares nothing and of a federated one, after
# 5 and after 40 rounds. Write `member_auc(model, rounds)`. Which of them remembers more, and why does the other not?
# :::
#
# <details class="hint"><summary>Hint</summary>
#
# `losses(result, users, logs)` of `fedlib.attacks.table` gives the losses of pairs, `membership(inside, outside)` of
# `fedlib.attacks` the AUC. `FedMF(d).alone()` shares nothing; its item rate must be moderate, since it is averaged with
# nobody.
#
# </details>


# %% tags=["exercise"]
def member_auc(model, rounds):
    return None  # your code


after = [member_auc(FedMF(d).alone(), rounds) for rounds in (5, 40)]
yours = None if None in after else after[1] > max(after[0], 0.9)
book.check(yours, True)

# %% [markdown]
# :::{solution-start} ex-ch16-members
# :label: sol-ch16-members
# :class: dropdown
# :::


# %% tags=["solution"]
def member_auc(model, rounds):
    rate = 20.0 if model.is_alone else 200.0
    how = LocalTraining(lr=1.0, lr_items=rate, negatives_from="unobserved")
    more = {"rounds": rounds, "evaluate_every": rounds, "device": "cpu"}
    end = federate(shop, model, local=how, **more)
    parts = [shop.train], [shop.valid, shop.test]
    inside, outside = (losses(end, torch.arange(m), logs) for logs in parts)
    return membership(inside, outside).auc


after = [member_auc(FedMF(d).alone(), rounds) for rounds in (5, 40)]
yours = None if None in after else after[1] > max(after[0], 0.9)
book.check(yours, True)

# %%
together = [member_auc(FedMF(d), rounds) for rounds in (5, 40)]
table = {"local-only": after, "federated": together}
pd.DataFrame(table, index=["5 rounds", "40 rounds"]).T.round(2)

# %% [markdown]
# Who trains on its own items alone learns them by heart, and everything held out looks equally strange. A shared table has
# to serve everybody: it says of a book what its readers have in common, and a held-out book profits like a trained one.
# Generalising *is* a protection, the only one on the page that makes the model better.
#
# :::{solution-end}
# :::
#
# ## Quiz
#
# **1.** What does the server of a secure sum learn of one client?
#
# <details class="option"><summary>its vector, after unmasking</summary>
#
# **No.** Masks are taken off the sum; no single vector is ever bare.
#
# </details>
# <details class="option"><summary>that it took part</summary>
#
# **Right.** Its vector stays noise; its keys and its presence are seen.
#
# </details>
# <details class="option"><summary>nothing at all</summary>
#
# **No.** Taking part is seen, and two sums can be compared.
#
# </details>
#
# **2.** Why may the server get a client's own-mask seed *or* its pair key, but not both?
#
# <details class="option"><summary>to save bytes</summary>
#
# **No.** Shares are small. It is about a vector that comes late.
#
# </details>
# <details class="option"><summary>both together take all masks off its vector</summary>
#
# **Right.** A client called lost whose vector then arrives would be bare.
#
# </details>
#
# **3.** Look at {numref}`fig-ch16-patience`. Why do the curves rise?
#
# <details class="option"><summary>the noise shrinks from round to round</summary>
#
# **No.** It has the same variance in every round.
#
# </details>
# <details class="option"><summary>the histories add up and the noises cancel</summary>
#
# **Right.** The sides of a reader's rows stay, and the noise is drawn anew.
#
# </details>
# <details class="option"><summary>the attacker guesses more books</summary>
#
# **No.** It always names as many as the history holds.
#
# </details>
#
# **4.** A paper clips each client's update, adds noise, and weights clients by their samples. What is wrong with its ε?
#
# <details class="option"><summary>nothing, weights are public</summary>
#
# **No.** They multiply what a client adds to the sum, and clipping came before.
#
# </details>
# <details class="option"><summary>a heavy client moves the sum by more than the bound</summary>
#
# **Right.** The sensitivity is the bound times the largest weight.
#
# </details>
#
# **5.** "Noise of variance 0.1 protects the users." What do you ask for?
#
# <details class="option"><summary>a bound on the update, and what the variance is relative to</summary>
#
# **Right.** Without a bound there is no ε, and without a rate the variance is a number.
#
# </details>
# <details class="option"><summary>a larger variance</summary>
#
# **No.** No variance is enough if an update may be as large as it likes.
#
# </details>
# <details class="option"><summary>the distribution</summary>
#
# **No.** Gaussian and Laplace noise both work, with a bound.
#
# </details>
#
# **6.** With ε fixed, what helps quality most?
#
# <details class="option"><summary>more dimensions</summary>
#
# **No.** Every coordinate gets its noise.
#
# </details>
# <details class="option"><summary>more clients</summary>
#
# **Right.** The noise on the mean falls with their number.
#
# </details>
# <details class="option"><summary>more rounds</summary>
#
# **No.** They have to share the budget, and each gets more noise.
#
# </details>
#
# ## Summary
#
# - A plain update is the history. Lists of rows, sides and two rounds give it away; counts give a part, a head of few
#   numbers little.
# - Secure aggregation hides the terms of a sum: masks cancel, shares repair drop-outs, and no client's two secrets are
#   told together, unless more than a third side with a server that lies.
# - User-level privacy bounds a client's whole update, adds noise to the sum and keeps an account. The server must be
#   trusted, or not see the terms.
# - Noise without a bound has no guarantee; fresh noise in every round wears off. Ask for the unit, the bound and the total.
# - On 943 users a strong promise costs most of what personalisation is worth, or all of it. The noise falls with the number
#   of users.
#
# **What next?** [Chapter 17](17_cost_faults_fairness.ipynb) turns the table: there the clients lie, the server looks for
# them, and secure sums are in its way.
#
# **Further reading.** {cite:t}`bonawitz2017secagg` prove what the five rounds hide. {cite:t}`mcmahan2018dp` train a
# language model with a billion-scale population in mind. {cite:t}`kairouz2021`, sections 4 and 5, are the survey.
# {cite:t}`zhu2019deepleakage` and {cite:t}`ji2023leakage` show what else leaks.
