"""Act on what the exporter observes. The only package that may ever write to a watched database.

From the top down, imports only downwards: metrics, options. This version does not heal: it says so in
`queuemedic_healing_mode`, and the configuration refuses every mode but `disabled`.
"""
