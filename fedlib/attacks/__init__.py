"""What an honest but curious party can learn of a user, as functions over what it gets to see."""

from fedlib.attacks.eavesdrop import Eavesdropper, Seen
from fedlib.attacks.measure import Membership, Success, membership, success
from fedlib.attacks.models import from_counts, from_head
from fedlib.attacks.table import attack_table
from fedlib.attacks.updates import (
    from_fcf,
    intersect,
    ratings_from_two_rounds,
    rows_by_sign,
    touched_rows,
    vector_from_two_rounds,
)

__all__ = [
    "Eavesdropper",
    "Membership",
    "Seen",
    "Success",
    "attack_table",
    "from_counts",
    "from_fcf",
    "from_head",
    "intersect",
    "membership",
    "ratings_from_two_rounds",
    "rows_by_sign",
    "success",
    "touched_rows",
    "vector_from_two_rounds",
]
