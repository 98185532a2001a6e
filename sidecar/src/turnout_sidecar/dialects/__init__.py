"""Vendors' words. Each module is one dialect or one part of it; `passages` says which pairs there are."""
