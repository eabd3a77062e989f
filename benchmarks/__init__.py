"""What things cost, and against what. Equality is asserted before time is taken; run with ``make bench``."""
