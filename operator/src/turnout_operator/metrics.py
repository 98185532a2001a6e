"""Every metric of the operator, declared once. Shapes follow controller-runtime's and client-go's, with our prefix.

Stability: names and labels here change only with a CHANGELOG line. Label values form closed or bounded sets.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


def _counter(name: str, words: str, labels: tuple[str, ...] = ()) -> Counter:
    return Counter(name, words, labels, registry=REGISTRY)


def _gauge(name: str, words: str, labels: tuple[str, ...] = ()) -> Gauge:
    return Gauge(name, words, labels, registry=REGISTRY)


def _histogram(name: str, words: str, labels: tuple[str, ...] = ()) -> Histogram:
    return Histogram(name, words, labels, registry=REGISTRY, buckets=_SECONDS)


RECONCILES = _counter("turnout_reconcile_total", "Reconciles by what became of them.", ("controller", "result"))
RECONCILE_ERRORS = _counter("turnout_reconcile_errors_total", "Reconciles that failed.", ("controller",))
RECONCILE_SECONDS = _histogram("turnout_reconcile_time_seconds", "How long a reconcile took.", ("controller",))
ACTIVE_WORKERS = _gauge("turnout_reconcile_active_workers", "Reconciles under way.", ("controller",))

QUEUE_DEPTH = _gauge("turnout_workqueue_depth", "Keys that wait.")
QUEUE_ADDS = _gauge("turnout_workqueue_adds_total", "Keys added since the start.")
QUEUE_RETRIES = _gauge("turnout_workqueue_retries_total", "Keys put back after a failure since the start.")

COMPILE_SECONDS = _histogram("turnout_compile_seconds", "How long compiling the whole snapshot took.")
OBJECTS = _gauge(
    "turnout_managed_resources", "Objects by kind and the reason of their Ready condition.", ("kind", "reason")
)
NOT_ENFORCED = _gauge("turnout_not_enforced_fields", "Fields declared on accepted routes that nothing enforces yet.")

POOL_IN_FLIGHT = _gauge(
    "turnout_pool_in_flight",
    "Requests in flight at a pool over all sidecars, 0 too: what its HorizontalPodAutoscaler reads.",
    ("namespace", "pool"),
)

LEADER = _gauge("turnout_leader_election_master_status", "1 while this replica leads.")
LOOP_LAG = _gauge("turnout_loop_lag_seconds", "Since the last heartbeat of a loop.", ("loop",))

XDS_CONNECTED = _gauge("turnout_xds_connected_sidecars", "Sidecars with an open discovery stream.")
XDS_PUSHES = _counter("turnout_xds_pushes_total", "Responses sent, by type.", ("type",))
XDS_ACKS = _counter("turnout_xds_acks_total", "Responses acknowledged, by type.", ("type",))
XDS_NACKS = _counter("turnout_xds_nacks_total", "Responses refused, by type.", ("type",))
XDS_REFUSED = _counter("turnout_xds_refused_streams_total", "Streams refused, by reason.", ("reason",))

LEASE_REPORTS = _counter("turnout_lease_reports_total", "Reports of sidecars, by result.", ("result",))
LEASE_SECONDS = _histogram("turnout_lease_report_seconds", "From a report's arrival to its answer, ledger written.")
LEDGER_WRITES = _gauge(
    "turnout_ledger_writes_total", "Writes of ledger shards since the start, by result.", ("result",)
)
LEDGER_ANOMALIES = _counter(
    "turnout_ledger_anomalies_total",
    "Reports that the ledger does not explain (a restored store, a foreign epoch).",
    ("kind",),
)

DRILLS = _counter("turnout_drills_total", "Drills by fault and verdict.", ("fault", "verdict"))
DRILL_LAST_SUCCESS = _gauge(
    "turnout_drill_last_success_timestamp_seconds",
    "When a drill of this route and fault last passed.",
    ("namespace", "route", "fault"),
)
DRILLS_RUNNING = _gauge("turnout_drills_running", "Drills between Preflight and Reverting.")
