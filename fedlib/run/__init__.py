"""What surrounds a run: its arguments, the machine, faults, checkpoints, rates, and the result."""
