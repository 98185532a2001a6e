"""`make demo`: the whole product on this machine, on a real trace, with an outage, a budget that runs out and a drill."""
