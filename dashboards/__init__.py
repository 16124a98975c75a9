"""Grafana dashboards that can be imported as they are, and the Python that builds them.

Imports point down: `build` writes the files, `fleet`, `one_queue`, `systems` and `healing` say what is shown, `kinds`
and `panels` how, and `queries` makes the PromQL, of metrics of the catalogue only.
"""
