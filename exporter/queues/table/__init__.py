"""Any job table, described in the configuration: on MariaDB or MySQL, PostgreSQL and SQLite.

`options` says what can be written, `shape` asks the database whether it is so and of which types the times and the id
are, `instants` and `ids` turn those types into SQL, `statements` makes the statements of a poll, `rows` reads what they
return, and `queue` runs them. Names are quoted, values are bound, and what is written under `sql` is trusted.
"""

from .options import Columns, Sql, TableOptions
from .queue import TableQueue

__all__ = ["Columns", "Sql", "TableOptions", "TableQueue"]
