"""Clients that are stores: with the graph of their users, or with a model for each of them."""
