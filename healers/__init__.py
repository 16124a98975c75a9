"""Judge the workers of what the exporter observes, by asking their hosts; and put back the jobs of those proven dead.

From the top down, imports only downwards: cycle strings a pass together; asking asks hosts, recording and braking speak
to the ledger; metrics and views show; tallying, gathering and conditions are what a pass sees and counts; beliefs holds
what is believed between polls and rounds; lease, ledger and resets write; then the pure parts, each one decision: plan
and its guards, breaker, proofs, runs, verdicts, rules, machines, rounds; probes ask; sightings are what is remembered.
"""
