"""The tables of a report on the console, too."""

from __future__ import annotations

from rich.table import Table as Drawn

from pipelines.reporting.html_report import Table


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
