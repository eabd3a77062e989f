"""Which outside interactions join a client."""
