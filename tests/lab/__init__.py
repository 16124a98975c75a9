"""The laboratory all tests share: real servers and real worker processes, on the loopback address only.

From the top down, imports only downwards: queuemedic (the installed program); recordings (states of a real Matomo),
matomo (its tables, rows and archiver), matomo_tables, archiving with `console` (the archiver's own process),
invalidations (its statements); meltano (the real one, in a project with a tap and target of `singer`), releases (its
versions, installed); mariadb, administrator, postgres, prometheus, alertmanager, server (what all servers have), run
(what a run of the tests shares and must not leave), daemon (one server process); proxy (a bad network), webhook and
mailbox (who is told), certificates; programs, processes, ports, waiting.

Processes are ended by pid, never by name, and none outlives its test, or its run if it is shared.
"""
