"""Observe job queues: read them, derive figures, publish them. Nothing here writes to a watched database.

From the top down, imports only downwards: web, page, poller, showing, collector, facts, tracker, histogram, queues,
catalogue, database, labels, slots, views, address, driver_errors, options, secrets, jobs, log, clock, errors.
"""
