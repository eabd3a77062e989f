r"""FedSLLM's Table 5: what a selector costs, as it is measured here and as the paper seems to have counted.

The paper gives megabytes and millions of operations without saying of what. The figures are those of ML-100K and
FedNCF, and these rules give all of them (1 MB is 2^20 bytes, a number has 4):

- Communication is that of one direction, and counts the private user vector, which is never sent. FALE has a second
  copy of the network on top, FedSLLM that and five prototype vectors; neither reason nor number is given. FedSelect's
  figure is that of three more item tables, two more networks and a meta model of 301 numbers; other sums may give it.
- Computation is that of scoring samples once forward: of ten for the whole data, so of one at S = 10 %, and of one more
  for FALE. The scores that all other selectors need before they select are not counted, nor is the backward pass.

Source: FedSLLM, Table 5 and section 5.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from fedlib.backbones.base import Backbone
from fedlib.errors import InputError
from fedlib.evaluation.flops import multiply_adds
from fedlib.run.result import Result

MB = 2**20
NUMBER = 4  # bytes
META = 301  # FedSelect's meta model, 1 -> 100 -> 1


@dataclass(frozen=True)
class Printed:
    """A row of Table 5: its figures, and what the paper's count has beyond the model of one client.

    ``tables``, ``networks``, ``prototypes`` and ``numbers`` are further item tables, networks, prototype vectors and
    single numbers; ``scored`` are samples scored of ten.
    """

    megabytes: float
    millions: float
    milliseconds: float | None
    tables: int = 0
    networks: int = 0
    prototypes: int = 0
    numbers: int = 0
    scored: int = 1


PRINTED = {
    "Base": Printed(0.2689, 0.1645, None, scored=10),
    "Random": Printed(0.2689, 0.0164, 0.271),
    "FedSelect": Printed(1.0130, 0.0164, 0.313, tables=3, networks=2, numbers=META),
    "FALE": Printed(0.3324, 0.0329, 0.747, networks=1, scored=2),
    "FedSLLM": Printed(0.3330, 0.0164, 0.384, networks=1, prototypes=5),
}


def parts(backbone: Backbone, n_items: int) -> tuple[int, int, int]:
    """Numbers in the item tables, in the private user vectors, and in the network."""
    tables = sum(n_items * table.dim for table in backbone.tables.values())
    sizes = {name: p.numel() for name, p in backbone.named_parameters()}
    user = sum(size for name, size in sizes.items() if backbone.is_vector(name))
    return tables, user, sum(sizes.values()) - user


def as_counted(row: str, backbone: Backbone, n_items: int) -> tuple[float, float]:
    """Megabytes and millions of multiplications of a row of Table 5 by the rules above."""
    extra = printed(row)
    tables, user, network = parts(backbone, n_items)
    width = next(iter(backbone.tables.values())).dim
    numbers = (1 + extra.tables) * tables + user + (1 + extra.networks) * network
    numbers += extra.prototypes * width + extra.numbers
    return numbers * NUMBER / MB, extra.scored * multiply_adds(backbone) / 1e6


def traffic(result: Result, direction: str) -> float:
    """Megabytes a client of the last round sent ("up") or was sent ("down"), by the ledger: all that crosses."""
    ledger = result.ledger
    rows = ledger[(ledger["round"] == ledger["round"].max()) & (ledger["direction"] == direction)]
    return float(rows["bytes_per_client"].sum()) / MB


def training(backbone: Backbone, ratio: float, negatives: int = 4, epochs: int = 2) -> float:
    """Multiplications of local training for each positive a client has: forward, and two products backward for one."""
    return 3 * multiply_adds(backbone) * ratio * (1 + negatives) * epochs


def selecting(row: str, backbone: Backbone, positives: float, prototypes: int = 10) -> float:
    """Multiplications of selection for each of a client's ``positives``, which the paper leaves out.

    FedSelect scores all positives before and after training; the lesson of one client a round is left out. FALE forms
    x^T (G + lambda I)^-1 x and adds x x^T to the client's sum. FedSLLM scores all positives and the ``prototypes``, and
    compares their vectors. Random draws.
    """
    printed(row)
    one = multiply_adds(backbone)
    tables, user, _ = parts(backbone, 1)
    features = tables + user
    return {
        "Base": 0.0,
        "Random": 0.0,
        "FedSelect": 2.0 * one + 4 * 100,
        "FALE": 2.0 * features**2 + features,
        "FedSLLM": one * (1 + prototypes / positives) + prototypes * tables,
    }[row]


def table5(results: Mapping[str, Result], *, positives: float, prototypes: int = 10) -> pd.DataFrame:
    """Our figures beside the paper's, one row for each of ``results`` under the paper's names.

    MB up and down of a client in a round by the ledger; MB by the paper's count and as printed; millions of
    multiplications by the paper's count and as printed; and what training and selecting take for each of a client's
    ``positives`` (their mean number), in millions.
    """
    rows = []
    for name, result in results.items():
        told, n = printed(name), result.data.data.n_items
        megabytes, millions = as_counted(name, result.backbone, n)
        local = result.config["local"]
        ratio = (result.config["places"].get("select") or {"ratio": 1.0})["ratio"]
        rows.append(
            {
                "selector": name,
                "MB up": traffic(result, "up"),
                "MB down": traffic(result, "down"),
                "MB as counted": megabytes,
                "MB printed": told.megabytes,
                "M as counted": millions,
                "M printed": told.millions,
                "M training": training(result.backbone, ratio, local["negatives"], local["epochs"]) / 1e6,
                "M selecting": selecting(name, result.backbone, positives, prototypes) / 1e6,
            }
        )
    return pd.DataFrame(rows).set_index("selector")


def printed(row: str) -> Printed:
    """The row of Table 5. Raises InputError for another name."""
    if row not in PRINTED:
        raise InputError(f"Table 5 has the rows {', '.join(PRINTED)}, not {row!r}.")
    return PRINTED[row]
