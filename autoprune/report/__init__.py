"""The report of a search: one HTML page, made from a run directory alone."""

from autoprune.report.write import write_report, write_report_or_log

__all__ = ["write_report", "write_report_or_log"]
