"""Judge the workers of what the exporter observes: ask their hosts whether they are still at work. Writes nothing.

From the top down, imports only downwards: asking and views, metrics, beliefs, then the pure parts, each one decision:
plan and its guards, proofs, verdicts, rounds; probes ask; sightings are what is remembered; options.
"""
