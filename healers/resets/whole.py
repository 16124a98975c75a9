"""Read a whole row without a value that the driver could not hold.

PostgreSQL has types that psycopg knows nothing of, and times beyond what Python can hold, so each value is read as the
server writes it. MySQL's driver returns such values as text by itself, and SQLite's has none.
"""

from sqlalchemy import Connection, text


def select_whole(connection: Connection, source: str, *, name: str) -> str:
    """Return what to select for all columns of a table; `name` is what its columns are qualified with."""
    if connection.dialect.name != "postgresql":
        return f"{name}.*"
    quote = connection.dialect.identifier_preparer.quote_identifier
    found = connection.execute(text(f"SELECT * FROM {source} LIMIT 0"))
    columns = [quote(column).replace(":", "\\:") for column in found.keys()]  # noqa: SIM118  not a dictionary
    found.close()
    return ", ".join(f"CAST({name}.{column} AS text) AS {column}" for column in columns)
