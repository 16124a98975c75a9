"""Observe job queues: read them, derive figures, publish them. Nothing here writes to a watched database.

From the top down, imports only downwards: web, page, poller, showing, collector, facts, tracker, histogram, queues,
store, catalogue, labels, series, slots, views, writer, database, openers, address, deadline, driver_errors, options,
secrets, store_file, sqlite_files, imports, jobs, log, clock, files, texts, errors.
"""
