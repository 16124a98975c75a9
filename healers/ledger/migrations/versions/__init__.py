"""The steps of the ledger's schema, in the order of their numbers."""
