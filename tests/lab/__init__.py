"""The laboratory all tests share: real servers and real worker processes, on the loopback address only.

What each file gives, from the top down, imports only downwards:
recordings (states of a real Matomo), matomo (its tables, its archiver), archiving and `console` (the archiver's own
process), mariadb, postgres, prometheus, proxy (a bad network), certificates, run (what is made or started once per
run), daemon (one server process), programs, processes, ports, waiting.

Nothing here outlives its test, what is shared its run: `run.end` looks. Processes are ended by pid, never by name.
"""
