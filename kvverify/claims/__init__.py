"""The ledger of the papers: each claim as recorded, its status, and the certificates that carry it."""
