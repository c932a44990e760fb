"""The report on one or two evaluations: an offline HTML page, JSON, CSV, a short page and a plot."""

from steadyphi.report.overview import draw, write_page
from steadyphi.report.page import write_report

__all__ = ["draw", "write_page", "write_report"]
