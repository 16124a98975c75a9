"""The web side: metrics, health, a landing page. Only reads, through the callables it is given."""
