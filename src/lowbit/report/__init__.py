"""Rows to a terminal table, a page, plots, CSV: functions over a Report. Nothing is measured here."""
