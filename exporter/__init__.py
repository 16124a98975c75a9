"""Observe job queues: read them, derive figures, publish them. Nothing here writes to a watched database.

From the top down, imports only downwards: web, page, poller, collector, catalogue, facts, tracker, queues, database,
options, views, jobs, log, clock, errors.
"""
