"""PURE. What a drill must show, when it runs, and what it proved. Time and chance are arguments; `handlers.drill_runner` does the rest."""
