"""The healer's own database: what was intended and done, what was seen, and what stops healing.

From the outside in: `ledger` opens it; `journal` (append-only: intents, outcomes, refusals), `sightings` (attempts,
hosts) and `brakes` (pauses, breakers, leases, retired hosts) are its parts; `chain` makes changes to the journal show;
`entries` are the journal's words; `tables`, `migrations` and `encoding` are how all of it is kept.
"""

from .brakes import Brakes
from .entries import Intent, IntentId, Mode, RecordedRefusal, RecordedReset
from .ledger import Ledger

__all__ = ["Brakes", "Intent", "IntentId", "Ledger", "Mode", "RecordedRefusal", "RecordedReset"]
