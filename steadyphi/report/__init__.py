"""What the evaluations found, for readers: an offline HTML page, JSON and CSV, a short page and a plot."""

from steadyphi.report.overview import draw, summarize, write_page
from steadyphi.report.page import write_report

__all__ = ["draw", "summarize", "write_page", "write_report"]
