"""Rows as columns, and the figures that are made of them. Pure.

Every figure is a sum over a sum, so that a slice's figure is the same whether it is computed alone or beside others.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from model.evaluation.estimates import Codes, Estimate, Floats, proportion, ratio
from model.evaluation.rows import Row

Mask = npt.NDArray[np.bool_]
DIMENSIONS = ("kind", "arm", "channel", "segment", "age", "language", "currency", "period")
"""What figures are sliced by; `period` is told beforehand."""
NUMBERS = (
    "shown clicked ordered refunded unsubscribed complained revenue margin refunded_money refunded_margin horizon_margin "
    "cost reward"
).split()


class Table:
    """Columns of closed strategies.

    Attributes:
        number: column → (n,) float64; text: dimension → (n,) of str.
        customers: (n,) codes; ghost, mixed: (n,) bool.
    """

    def __init__(self, rows: Sequence[Row], periods: Sequence[str]) -> None:
        """Take over rows, with the period that each is of."""
        self.number: dict[str, Floats] = {
            name: np.array([getattr(row, name) for row in rows], np.float64) for name in NUMBERS
        }
        self.text = {
            name: np.array([getattr(row, name) for row in rows], dtype=object)
            for name in DIMENSIONS
            if name != "period"
        }
        self.text["period"] = np.array(periods, dtype=object)
        _, codes = np.unique(np.array([row.customer for row in rows], dtype=object), return_inverse=True)
        self.customers: Codes = codes.astype(np.int64)
        self.ghost = np.array([row.ghost for row in rows], bool)
        self.mixed = np.array([row.mixed for row in rows], bool)

    def __len__(self) -> int:
        """Rows."""
        return len(self.ghost)

    @property
    def contacted(self) -> Mask:
        """Rows that are no ghosts."""
        return ~self.ghost

    def values(self, dimension: str, among: Mask) -> list[str]:
        """What a dimension's values are, sorted."""
        return sorted(set(self.text[dimension][among]))


Column = Callable[[dict[str, Floats]], Floats]


class Metric(NamedTuple):
    """A figure.

    Args:
        form: `share` of zeros and ones; `mean`; `per_mille`: per thousand of what it is per.
        money: in the currency's units: taken over one currency alone.
        about: for the marketer.
    """

    name: str
    title: str
    form: Literal["share", "mean", "per_mille", "return"]
    top: Column
    bottom: Column
    money: bool
    about: str


def _of(name: str) -> Column:
    return lambda columns: columns[name]


def _ones(columns: dict[str, Floats]) -> Floats:
    return np.ones(len(columns["shown"]))


METRICS: tuple[Metric, ...] = (
    Metric("seen", "Seen", "share", _of("shown"), _ones, money=False, about="strategies that were seen at all"),
    Metric("ctr", "CTR", "share", _of("clicked"), _of("shown"), money=False, about="clicked, of those seen"),
    Metric("cvr", "CVR", "share", lambda c: c["ordered"] * c["shown"], _of("shown"), money=False,
           about="credited with an order, of those seen"),
    Metric("cvr_of_clicks", "CVR of clicks", "share", lambda c: c["ordered"] * c["clicked"], _of("clicked"), money=False,
           about="credited with an order, of those clicked"),
    Metric("revenue_per_mille", "Revenue per 1,000 seen", "per_mille", _of("revenue"), _of("shown"), money=True,
           about="sold and credited, refunds not taken off"),
    Metric("margin_per_mille", "Margin per 1,000 seen", "per_mille", lambda c: c["margin"] - c["refunded_margin"],
           _of("shown"), money=True, about="margin after discounts and refunds"),
    Metric("roi", "ROI", "return", lambda c: c["margin"] - c["refunded_margin"] - c["cost"], _of("cost"), money=True,
           about="margin after refunds less what contacts cost, over what they cost"),
    Metric("refund_rate", "Refund rate", "share", lambda c: c["refunded"] * c["ordered"], _of("ordered"), money=False,
           about="refunded, of those with an order"),
    Metric("complaint_rate", "Complaint rate", "share", lambda c: c["complained"] * c["shown"], _of("shown"), money=False,
           about="marked as spam, of those seen"),
    Metric("unsubscribe_rate", "Unsubscribe rate", "share", lambda c: c["unsubscribed"] * c["shown"], _of("shown"),
           money=False, about="unsubscribed, of those seen"),
    Metric("reward", "Reward", "mean", _of("reward"), _ones, money=False, about="units of reward per strategy"),
)  # fmt: skip
"""Figures of contacted strategies, in the order of the report."""

NET = "net margin"
"""What arms and no contact are compared by: margin of all the customer's orders within the horizon less the contact's cost."""


def measure(table: Table, among: Mask, currency: str) -> dict[str, Estimate | None]:
    """Every figure of some rows; None where there is nothing it could be of.

    Args:
        currency: money is of rows in it alone.
    """
    rows = among & table.contacted
    paid = rows & (table.text["currency"] == currency)
    return {metric.name: _figure(table, paid if metric.money else rows, metric) for metric in METRICS}


def _figure(table: Table, rows: Mask, metric: Metric) -> Estimate | None:
    if not rows.any():
        return None
    columns = {name: column[rows] for name, column in table.number.items()}
    top, bottom = metric.top(columns), metric.bottom(columns)
    if metric.form == "share":
        return proportion(top, bottom, table.customers[rows])
    scale = 1000.0 if metric.form == "per_mille" else 1.0
    return ratio(scale * top, bottom, table.customers[rows])
