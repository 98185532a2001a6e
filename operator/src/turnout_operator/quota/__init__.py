"""Budgets as bounds: the ledger of accounts, the lease service over it, and its stores."""
