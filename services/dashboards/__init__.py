"""Grafana's dashboards as code: one module each. `python -m services.dashboards` writes their JSON to `deploy/grafana/`.

Needs the extra `dashboards`, which no service needs.
"""
