"""Shell: what happens when. kopf's handlers enqueue; the queue calls the reconcilers; they read, decide, then do."""
