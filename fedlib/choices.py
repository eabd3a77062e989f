"""The words that a setting may be, where several files spell them. This file imports no other, and no torch."""

from __future__ import annotations

EXECUTORS = ("vectorized",)  # how many clients train at once
OPTIMIZERS = ("sgd", "adam")  # the clients' optimiser
POOLS = ("unobserved", "untouched")  # where training negatives are drawn from
LAWS = ("uniform", "beta")  # how stores of users of similar degree are sized
PARTITIONS = ("random", *LAWS)  # which users share a store
ENCODERS = ("sentence-t5", "minilm", "lsa")  # what reads the texts of items, by name
OVER = ("positives", "samples")  # which of a client's pairs a selector chooses from
READINGS = ("hard_min", "literal_desc", "intent")  # of FedSLLM's Eqs. 11 to 13
