"""How good a ranking is, how sure that is, and what it costs."""
