"""The console: the Django admin site for operators, with an overview of the cluster as its first page.

Responsible for navigation, the overview, the base template, the style sheet, the vendored scripts (htmx, uPlot) and the
Content-Security-Policy of all pages for people. Never decides about the cluster: `health`, `maintenance` and
`configservice` measure, and what changes something stays on the admin pages of its package. No page waits for a
dependency longer than its probe may.
"""
