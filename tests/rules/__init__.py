"""Rules, dashboards and runbooks: what is shipped for Prometheus, Alertmanager and Grafana, against the program."""
