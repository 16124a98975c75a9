"""One module or package for each kind of job table; each reads its rows into a `Snapshot`."""
