"""What the server does: sums, optimisers, the ledger."""
