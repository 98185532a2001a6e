"""Shell: everything that talks to the API server. The only importer of `kubernetes`."""
