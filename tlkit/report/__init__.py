"""The report: one HTML file that opens offline."""

from tlkit.report.render import render_run, write_report

__all__ = ["render_run", "write_report"]
