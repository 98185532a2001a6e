"""`turnout serve`: the whole data plane from a folder of manifests, in one process and its Envoy."""
