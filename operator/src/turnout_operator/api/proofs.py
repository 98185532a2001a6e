"""The tests that prove each promise, by the promise's name; `tests/api/test_proofs.py` asserts that they exist.

Written as `path::test function`, or as the path of a scenario (which runs on the fake host and in real Envoy) or of a compiler's golden.
"""

from __future__ import annotations

_SCENARIOS = "tests/exchange/testdata"
_GOLDENS = "tests/compiler/testdata"
_PROMISES = "tests/api/promises/test_promises.py"
_SCHEDULES = "tests/drills/test_schedule.py"
_DRILLS = "tests/apiserver/operator/test_drills.py"

# Who may ask, and for what
LAW = "tests/apiserver/crd/test_the_apiserver_agrees.py::test_kubectl_apply_itself_prints_every_missing_part_of_the_law"
POOL_OWNER = "tests/api/testdata/providerpool/a pool without an owner is refused.yaml"
CHAT_COMPLETIONS = f"{_SCENARIOS}/plain-answer.txt"
ANTHROPIC = f"{_SCENARIOS}/anthropic-provider.txt"
MATCHES = f"{_PROMISES}::test_a_match_by_header_takes_no_request_without_it"
PROGRAMMED_NAMESPACE = (
    "tests/xds/test_server.py::test_a_sidecar_sees_nothing_of_other_namespaces_whatever_names_it_asks_for"
)
TENANT = f"{_SCENARIOS}/budget.txt"
IDENTITY_REQUIRED = f"{_PROMISES}::test_a_request_without_a_required_identity_reaches_no_provider"
ACCESS_LOG = f"{_PROMISES}::test_user_and_run_stand_in_the_access_log"

# Who answers
CANDIDATES = f"{_PROMISES}::test_the_default_order_is_the_order_in_which_candidates_are_asked"
RULES = f"{_SCENARIOS}/routing.txt"
RISK = f"{_GOLDENS}/high-risk-with-a-model-that-is-not-approved.in.yaml"
DATA_POLICY = f"{_PROMISES}::test_an_endpoint_outside_the_regions_of_the_route_is_not_asked"
ALLOWED_NAMESPACES = f"{_GOLDENS}/a-namespace-that-the-pool-does-not-allow.in.yaml"
ENDPOINTS = f"{_GOLDENS}/the-smallest-route.in.yaml"
WEIGHTS = f"{_PROMISES}::test_endpoints_are_asked_by_their_weights"
INSECURE = f"{_GOLDENS}/a-private-endpoint-is-allowed-in-words.in.yaml"
CREDENTIALS = (
    "tests/serve/test_end_to_end.py::test_an_anthropic_pool_is_asked_with_its_key_and_answers_in_the_clients_dialect"
)
BREAKER = f"{_SCENARIOS}/breaker.txt"
AUTOSCALING = "tests/apiserver/operator/test_reconciling.py::test_a_self_hosted_pool_gets_an_autoscaler_that_the_real_controller_takes_up"

# What it may cost
MAX_INPUT = f"{_SCENARIOS}/refusals.txt"
MAX_OUTPUT = f"{_PROMISES}::test_the_output_bound_is_the_providers_bound"
CONTEXT_WINDOW = f"{_GOLDENS}/token-budget-above-a-context-window-and-an-output-limit.in.yaml"
PRESET = f"{_GOLDENS}/a-preset-fills-the-token-budget.in.yaml"
PRICES = f"{_PROMISES}::test_cached_input_is_charged_at_its_own_price"
ABORT = f"{_PROMISES}::test_a_cut_stream_is_charged_by_what_the_provider_bills_for_it"
REQUEST_LIMIT = f"{_SCENARIOS}/request-limit.txt"
ROUTE_LIMIT = f"{_SCENARIOS}/budget.txt"
TENANT_LIMIT = f"{_SCENARIOS}/budget.txt"
POOL_LIMIT = f"{_PROMISES}::test_a_pool_is_not_asked_for_more_than_its_own_limit"
ACCOUNTS = "tests/quota/test_service.py::test_a_deleted_and_reapplied_route_finds_its_account_as_it_was"
WINDOWS = "tests/quota/test_windows.py::test_every_instant_lies_in_its_window_and_all_of_that_window_agrees"
SHARE = f"{_GOLDENS}/routes-that-declare-a-share-alike-spend-from-one-account.in.yaml"
OVERRIDES = "tests/quota/test_service.py::test_a_subject_with_an_override_has_its_own_limit"
NOTHING_UNPRICED = f"{_PROMISES}::test_a_request_whose_price_is_not_counted_is_refused"
NO_BATCHES = f"{_SCENARIOS}/refusals.txt"
NO_OTHER_CALLS = f"{_PROMISES}::test_no_model_is_asked_but_for_the_answer_itself"
NO_SOFT_LIMITS = f"{_PROMISES}::test_a_soft_limit_is_not_accepted"
HOLD_WAIT = f"{_SCENARIOS}/budget-held.txt"
LEASE_WAIT = f"{_SCENARIOS}/budget.txt"

# How long and how often
FIRST_TOKEN_DEADLINE = f"{_SCENARIOS}/deadlines.txt"
ATTEMPT_DEADLINE = f"{_SCENARIOS}/deadlines.txt"
TOTAL_DEADLINE = f"{_SCENARIOS}/deadlines.txt"
STALL = f"{_SCENARIOS}/stream-broken-after-content.txt"
MAX_ATTEMPTS = f"{_SCENARIOS}/retry.txt"
MAX_PER_CANDIDATE = f"{_SCENARIOS}/retry.txt"
RETRY_ON = f"{_PROMISES}::test_what_is_not_in_retry_on_is_not_retried"
RETRY_AFTER = f"{_SCENARIOS}/retry.txt"
RETRY_BUDGET = f"{_PROMISES}::test_retries_beyond_the_retry_budget_go_to_the_next_candidate_at_once"
BACKOFF = f"{_PROMISES}::test_a_retry_waits_within_the_backoff_and_never_the_same_for_all"
IDEMPOTENCY_KEY = f"{_PROMISES}::test_the_idempotency_key_is_forwarded_or_left_out"

# What happens when the plan does not hold
FIRST_CONTENT = f"{_SCENARIOS}/stream.txt"
RESCUE_ERROR = f"{_SCENARIOS}/stream-broken-after-content.txt"
DEGRADATION = f"{_SCENARIOS}/degradation.txt"

# How that is rehearsed
DRILL_SCHEDULE = f"{_SCHEDULES}::test_a_start_missed_for_longer_than_the_deadline_is_passed_over_and_said"
DRILL_ZONE = f"{_SCHEDULES}::test_the_schedule_is_read_in_its_own_zone"
DRILL_SUSPEND = f"{_SCHEDULES}::test_a_suspended_schedule_starts_nothing"
DRILL_WINDOWS = f"{_SCHEDULES}::test_windows_are_read_in_their_own_zones_and_exclusion_wins"
DRILL_HISTORY = "tests/drills/test_history.py::test_the_newest_of_each_outcome_are_kept"
DRILL_FAULTS = f"{_DRILLS}::test_an_honest_route_passes_with_evidence"
DRILL_DURATION = (
    "tests/drills/test_sidecar_runs.py::test_the_fault_ends_at_its_deadline_by_either_clock_with_nobody_calling"
)
DRILL_COST = "tests/drills/test_verdict.py::test_a_drill_that_cost_more_than_allowed_fails"
DRILL_PROBES = "tests/drills/test_sidecar_runs.py::test_control_and_faulted_probes_alternate_and_only_the_faulted_ones_meet_the_fault"
DRILL_SAMPLES = "tests/drills/test_verdict.py::test_too_few_samples_are_inconclusive_also_when_they_are_wrong"
DRILL_RECOVERY = "tests/drills/test_verdict.py::test_no_recovery_in_time_fails"
DRILL_ABORT = f"{_DRILLS}::test_an_abort_reverts_at_once_and_says_how_fast"
DRILL_GUARDS = "tests/api/promises/test_guards.py::test_a_guard_above_its_threshold_ends_the_drill"
DRILL_PREVIEW = f"{_DRILLS}::test_a_preview_injects_nothing_and_says_what_would_be_seen"
LIVE_DRILLS = f"{_DRILLS}::test_no_user_request_meets_the_fault_and_no_user_budget_pays"
REHEARSED = "tests/compiler/test_status.py::test_rehearsed_needs_a_fresh_pass_of_every_declared_fault"
