"""``EvaluationTable``: the metrics of several models on the same users, as numbers, text, HTML and JSON."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from mmsrarec.errors import InputError
from mmsrarec.evaluate.intervals import PairedTest, bootstrap_interval, paired_test
from mmsrarec.storage import read_json, write_json

__all__ = ["FULL", "RECOMMENDED", "EvaluationTable", "metric_column"]

FULL = "full"
RECOMMENDED = "recommended"
"""Column of the lists that models would show, best first."""

_TITLES = {
    "uniform": "One positive among uniform negatives",
    "popularity": "One positive among negatives drawn by popularity",
    FULL: "Full catalogue",
}
_WIDTH = 110
_PER_USER, _RELIABILITY, _ROWS = "per_user.parquet", "reliability.parquet", "rows.json"


def metric_column(protocol: str, metric: str) -> str:
    """Name the column of a metric in ``EvaluationTable.per_user``.

    Examples
    --------
    >>> metric_column("uniform", "HR@5")
    'uniform/HR@5'
    """
    return f"{protocol}/{metric}"


@dataclass(frozen=True, eq=False)
class EvaluationTable:
    """Rows of model × metric with 95 % bootstrap intervals by user.

    Attributes
    ----------
    per_user
        One row a model and user, all models on the same users in the same order: ``model``, ``user``,
        ``history_length``, ``positive_events`` (training events of the positive), ``cold_item`` (fewer than 5 of
        them), ``short_history`` (5 events or fewer), and a column a metric as :func:`metric_column` names it.
    n_items
        Size of the catalogue, for coverage.
    seed
        Seed of the bootstrap.
    reliability
        Bins of :func:`mmsrarec.evaluate.reliability` among uniform negatives, of the models whose scores are
        probabilities: ``model``, ``predicted``, ``observed``, ``count``. ``None`` where it was not measured.
    """

    per_user: pl.DataFrame
    n_items: int
    seed: int = 0
    reliability: pl.DataFrame | None = None

    @property
    def models(self) -> list[str]:
        """Names of the models, ours first."""
        return self.per_user["model"].unique(maintain_order=True).to_list()

    @property
    def n_users(self) -> int:
        """Number of users that each model was asked about."""
        return self.per_user.height // max(len(self.models), 1)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a model and metric: model, protocol, metric, value, low, high, users."""
        metrics = [column for column in self.per_user.columns if "/" in column]
        rows = []
        for model in self.models:
            own = self.per_user.filter(pl.col("model") == model)
            values = own.select(metrics).to_numpy()
            low, high = bootstrap_interval(values, seed=self.seed)
            for number, column in enumerate(metrics):
                rows.append(
                    self._row(
                        model,
                        column,
                        float(values[:, number].mean()),
                        float(low[number]),
                        float(high[number]),
                    )
                )
            if RECOMMENDED in own.columns:
                lists = own[RECOMMENDED].to_numpy()
                column = metric_column(FULL, f"coverage@{lists.shape[1]}")
                rows.append(self._row(model, column, len(np.unique(lists)) / self.n_items, None, None))
        return rows

    def _row(
        self, model: str, column: str, value: float, low: float | None, high: float | None
    ) -> dict[str, Any]:
        protocol, _, metric = column.partition("/")
        return {
            "model": model,
            "protocol": protocol,
            "metric": metric,
            "value": value,
            "low": low,
            "high": high,
            "users": self.n_users,
        }

    def value(self, model: str, protocol: str, metric: str) -> float:
        """Return the mean of a metric.

        Raises
        ------
        InputError
            If there is no such row.
        """
        for row in self.rows:
            if (row["model"], row["protocol"], row["metric"]) == (model, protocol, metric):
                return row["value"]
        raise InputError(f"the table has no {metric!r} of {model!r} under {protocol!r}; see to_frame().")

    def slice(self, condition: str | pl.Expr) -> EvaluationTable:
        """Keep some users.

        Parameters
        ----------
        condition
            Name of a boolean column, ``"cold_item"`` or ``"short_history"``, or an expression over the columns of
            `per_user` that say something of the user and not of a model.

        Returns
        -------
        EvaluationTable
            Of those users.

        Raises
        ------
        InputError
            If no user is left.
        """
        kept = self.per_user.filter(pl.col(condition) if isinstance(condition, str) else condition)
        if not kept.height:
            raise InputError(f"the slice {condition} holds no user; choose a wider one.")
        return EvaluationTable(kept, self.n_items, self.seed)

    def compare(self, first: str, second: str, protocol: str, metric: str) -> PairedTest:
        """Test whether two models differ in a metric, paired by user.

        Parameters
        ----------
        first, second
            Names of models.
        protocol, metric
            As in the rows.

        Returns
        -------
        PairedTest
            Of first minus second.

        Raises
        ------
        InputError
            If a model or the metric is not in the table.
        """
        column = metric_column(protocol, metric)
        if column not in self.per_user.columns:
            raise InputError(f"the table has no metric {column!r} by user; see per_user.columns.")
        for name in (first, second):
            if name not in self.models:
                raise InputError(f"the table has no model {name!r}; there are {self.models}.")
        left, right = (
            self.per_user.filter(pl.col("model") == name)[column].to_numpy() for name in (first, second)
        )
        return paired_test(left, right, seed=self.seed)

    def to_frame(self) -> pl.DataFrame:
        """Return the rows as a frame: model, protocol, metric, value, low, high, users."""
        return pl.DataFrame(
            self.rows,
            schema={
                "model": pl.String,
                "protocol": pl.String,
                "metric": pl.String,
                "value": pl.Float64,
                "low": pl.Float64,
                "high": pl.Float64,
                "users": pl.Int64,
            },
        )

    def reliability_by_model(self) -> dict[str, list[tuple[float, float, int]]]:
        """Return the bins of each model as a report draws them: the language model's before the blend's."""
        if self.reliability is None:
            return {}
        bins = self.reliability.partition_by("model", as_dict=True, include_key=False, maintain_order=True)
        return {str(name): part.rows() for (name,), part in reversed(bins.items())}

    def write_json(self, path: str | Path) -> None:
        """Write the rows as JSON, atomically.

        Raises
        ------
        StoredFileError
            If the file cannot be written.
        """
        write_json(path, {"users": self.n_users, "items": self.n_items, "seed": self.seed, "rows": self.rows})

    def save(self, folder: str | Path) -> None:
        """Write all of it into `folder`, the rows once more as ``rows.json``, for other programs."""
        folder = Path(folder)
        self.per_user.write_parquet(folder / _PER_USER)
        if self.reliability is not None:
            self.reliability.write_parquet(folder / _RELIABILITY)
        self.write_json(folder / _ROWS)

    @classmethod
    def load(cls, folder: str | Path) -> EvaluationTable:
        """Read what :meth:`save` wrote.

        Raises
        ------
        StoredFileError
            If ``rows.json`` is missing or no JSON.

        Examples
        --------
        >>> import tempfile
        >>> frame = pl.DataFrame({"model": ["ours"] * 2, "user": [0, 1], "uniform/AUC": [0.5, 1.0]})
        >>> folder = tempfile.mkdtemp()
        >>> EvaluationTable(frame, n_items=9).save(folder)
        >>> EvaluationTable.load(folder).value("ours", "uniform", "AUC")
        0.75
        """
        folder = Path(folder)
        told, bins = read_json(folder / _ROWS), folder / _RELIABILITY
        return cls(
            pl.read_parquet(folder / _PER_USER),
            told["items"],
            told["seed"],
            pl.read_parquet(bins) if bins.exists() else None,
        )

    def _by_protocol(self) -> dict[str, tuple[list[str], dict[str, dict[str, dict[str, Any]]]]]:
        """Give, for each protocol, its metrics and model → metric → row."""
        grouped: dict[str, tuple[list[str], dict[str, dict[str, dict[str, Any]]]]] = {}
        for row in self.rows:
            metrics, by_model = grouped.setdefault(row["protocol"], ([], {}))
            if row["metric"] not in metrics:
                metrics.append(row["metric"])
            by_model.setdefault(row["model"], {})[row["metric"]] = row
        return grouped

    def __rich__(self) -> Group:
        tables = []
        for protocol, (metrics, by_model) in self._by_protocol().items():
            table = Table(
                title=f"{_TITLES.get(protocol, protocol)}, {self.n_users} users", title_justify="left"
            )
            table.add_column("model")
            for metric in metrics:
                table.add_column(metric, justify="right")
            for model, found in by_model.items():
                # As text, not markup: a model's name is not ours to interpret.
                table.add_row(Text(model), *(Text("\n".join(_cell(found[metric]))) for metric in metrics))
            tables.append(table)
        return Group(*tables)

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
        console.print(self)
        return console.file.getvalue()  # type: ignore[attr-defined]

    def to_html(self) -> str:
        """Return one HTML table a protocol, every text escaped; a fragment for a page."""
        parts = []
        for protocol, (metrics, by_model) in self._by_protocol().items():
            title = escape(f"{_TITLES.get(protocol, protocol)}, {self.n_users} users")
            head = "".join(f'<th scope="col">{escape(metric)}</th>' for metric in metrics)
            body = "".join(
                f'<tr><th scope="row">{escape(model)}</th>'
                + "".join(_html_cell(found[metric]) for metric in metrics)
                + "</tr>"
                for model, found in by_model.items()
            )
            parts.append(
                f'<table class="evaluation"><caption>{title}</caption><thead><tr><th scope="col">model</th>{head}'
                f"</tr></thead><tbody>{body}</tbody></table>"
            )
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        return self.to_html()


def _cell(row: dict[str, Any]) -> tuple[str, str]:
    """Write the value and its interval: shares in percent, novelty in bits."""
    factor = 1 if row["metric"].startswith("novelty") else 100
    interval = "" if row["low"] is None else f"{factor * row['low']:.2f}–{factor * row['high']:.2f}"
    return f"{factor * row['value']:.2f}", interval


def _html_cell(row: dict[str, Any]) -> str:
    value, interval = _cell(row)
    return f"<td>{value}<br><small>{interval}</small></td>" if interval else f"<td>{value}</td>"
