/* The bootstrap extension: process-life timers, unary calls, metrics, and the shutdown that must be answered. */
#include "engine.h"

#include <string.h>

#define MOST_HEADERS 32
#define TOLD_PREFIX "x-turnout-"
#define TOLD_AT_MOST 4096

static void (*shutdown_answer)(void *);
static void *shutdown_context;

HOOK(const void *, bootstrap_extension_config_new)(void *envoy, bytes name, bytes config) {
  (void)name;
  bool accepted = turnout_up_boot(envoy, config.size ? config.at : "", config.size, ENVOY(get_concurrency)());
  return accepted ? envoy : NULL;
}

HOOK(const void *, bootstrap_extension_new)(const void *config, void *envoy) {
  (void)config;
  return envoy;
}

HOOK(void, bootstrap_extension_server_initialized)(void *envoy, const void *extension) {
  (void)envoy, (void)extension;
  turnout_up_ready();
}

HOOK(void, bootstrap_extension_drain_started)(void *envoy, const void *extension) {
  (void)envoy, (void)extension;
  turnout_up_drain();
}

HOOK(void, bootstrap_extension_shutdown)(void *envoy, const void *extension, void (*answer_to)(void *), void *context) {
  (void)envoy, (void)extension;
  shutdown_answer = answer_to;
  shutdown_context = context;
  turnout_up_shutdown();
}

void turnout_shutdown_done(void) {
  void (*answer_to)(void *) = shutdown_answer;
  shutdown_answer = NULL; /* exactly once */
  if (answer_to) answer_to(shutdown_context);
}

HOOK(void, bootstrap_extension_timer_fired)(void *envoy, const void *config, void *timer) {
  (void)envoy, (void)config;
  turnout_up_timer(timer);
}

HOOK(void, bootstrap_extension_config_scheduled)(void *envoy, const void *config, uint64_t event) {
  (void)envoy, (void)config;
  turnout_up_event(event);
}

/* What an answer of our own says about itself, for a drill's probes. What does not fit is left out. */
static size_t told(const pair *headers, size_t count, char *out) {
  const size_t prefix = sizeof TOLD_PREFIX - 1;
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    const pair *h = &headers[i];
    if (h->key_size <= prefix || memcmp(h->key, TOLD_PREFIX, prefix)) continue;
    if (used + h->key_size + h->value_size + 2 > TOLD_AT_MOST) continue;
    memcpy(out + used, h->key, h->key_size);
    used += h->key_size;
    out[used++] = 0;
    memcpy(out + used, h->value, h->value_size);
    used += h->value_size;
    out[used++] = 0;
  }
  return used;
}

HOOK(void, bootstrap_extension_http_callout_done)(void *envoy, const void *config, uint64_t call, int result,
                                                 const pair *headers, size_t count, const bytes *chunks,
                                                 size_t chunk_count) {
  (void)envoy, (void)config;
  int status = 0;
  for (size_t i = 0; !result && i < count; i++)
    if (headers[i].key_size == 7 && !memcmp(headers[i].key, ":status", 7))
      for (size_t at = 0; at < headers[i].value_size; at++) status = status * 10 + (headers[i].value[at] - '0');
  bytes body = chunks_join(chunks, chunk_count);
  char head[TOLD_AT_MOST];
  size_t head_size = result ? 0 : told(headers, count, head);
  turnout_up_called(call, status, head, head_size, body.at, body.size);
}

void *turnout_timer(void *config) { return ENVOY(bootstrap_extension_timer_new)(config); }

void turnout_timer_enable(void *timer, uint64_t delay_ms) { ENVOY(bootstrap_extension_timer_enable)(timer, delay_ms); }

void *turnout_scheduler(void *config) { return ENVOY(bootstrap_extension_config_scheduler_new)(config); }

void turnout_post(void *scheduler, uint64_t event) {
  ENVOY(bootstrap_extension_config_scheduler_commit)(scheduler, event);
}

void turnout_initialized(void *config) { ENVOY(bootstrap_extension_config_signal_init_complete)(config); }

int64_t turnout_call(void *config, const char *cluster, size_t cluster_size, const char *packed, size_t packed_size,
                     size_t pairs, const char *body, size_t body_size, uint64_t timeout_ms) {
  pair headers[MOST_HEADERS];
  if (pairs > MOST_HEADERS || !headers_unpack(packed, packed_size, headers, pairs)) return -100;
  uint64_t call = 0;
  int failure = ENVOY(bootstrap_extension_http_callout)(config, &call, (bytes){cluster, cluster_size}, headers, pairs,
                                                        (bytes){body, body_size}, timeout_ms);
  return failure ? -failure : (int64_t)call;
}

/* kind: 0 counter, 1 gauge, 2 histogram */
int64_t turnout_define(void *config, int kind, const char *name, size_t name_size, turnout_bytes *labels, size_t count) {
  size_t id = 0;
  bytes title = {name, name_size}, *names = (bytes *)labels;
  int failure = kind == 0   ? ENVOY(bootstrap_extension_config_define_counter)(config, title, names, count, &id)
                : kind == 1 ? ENVOY(bootstrap_extension_config_define_gauge)(config, title, names, count, &id)
                            : ENVOY(bootstrap_extension_config_define_histogram)(config, title, names, count, &id);
  return failure ? -failure : (int64_t)id;
}

int turnout_count(void *config, size_t id, turnout_bytes *labels, size_t count, uint64_t by) {
  return ENVOY(bootstrap_extension_config_increment_counter)(config, id, (bytes *)labels, count, by);
}

int turnout_gauge(void *config, size_t id, turnout_bytes *labels, size_t count, uint64_t value) {
  return ENVOY(bootstrap_extension_config_set_gauge)(config, id, (bytes *)labels, count, value);
}
