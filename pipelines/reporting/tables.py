"""The tables of a report on the console, too."""

from __future__ import annotations

from dataclasses import replace

from rich.table import Table as Drawn

from pipelines.reporting.html_report import Table


def turned(table: Table) -> Table:
    """A table with its rows as columns, for those that have many columns and few rows."""
    columns = [table.columns[0], *(name for name, *_ in table.rows)]
    cells = zip(*(row[1:] for row in table.rows), strict=True)
    rows = [[name, *row] for name, row in zip(table.columns[1:], cells, strict=True)]
    return replace(table, columns=columns, rows=rows, marked=[(column - 1, row + 1) for row, column in table.marked])


def printable(table: Table) -> Drawn:
    """A table to print, its first column to the left, the row that matters in bold, cells with a star."""
    found = Drawn(title=table.title, title_justify="left")
    for index, column in enumerate(table.columns):
        found.add_column(column, justify="right" if index else "left")
    for row, (name, *cells) in enumerate(table.rows):
        shown = name.replace("-", " ")  # which may be wrapped
        cells = [f"{cell} *" if (row, column) in table.marked else cell for column, cell in enumerate(cells, start=1)]
        found.add_row(shown, *cells, style="bold" if name == table.strong else "")
    return found
