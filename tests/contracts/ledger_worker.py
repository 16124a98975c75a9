"""A process that writes intents and outcomes to a ledger, and says each number as soon as the ledger has it.

`python -m tests.contracts.ledger_worker URL NAME INTENTS`
"""

import sys

from healers.ledger import Ledger
from healers.outcomes import Outcome
from tests.contracts.ledgers import AT, a_key, address_of, an_intent, concluded


def main() -> None:
    """Write to the ledger until done."""
    url, name, intents = sys.argv[1:]
    ledger = Ledger.open(address_of(url))
    for number in range(int(intents)):
        intent = an_intent(a_key(f"{name}{number}"))
        entry = ledger.journal.intend(intent)
        print("intended", intent.key.job_id, flush=True)
        ledger.journal.conclude(entry, concluded(intent, Outcome.RESET), at=AT)
        print("concluded", intent.key.job_id, flush=True)
    ledger.close()
    print("done", flush=True)


if __name__ == "__main__":
    main()
