/* The terminal HTTP filter: what Envoy tells about one client request and its upstream streams, handed to Python. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LARGEST_REQUEST (1 << 20)
#define IS(h, name) ((h).key_size == sizeof(name) - 1 && !memcmp((h).key, name, sizeof(name) - 1))

/* ---- configuration: a token that Python knows the policy by ---- */

HOOK(const void *, http_filter_config_new)(void *envoy, bytes name, bytes config) {
  (void)envoy, (void)name;
  uint64_t policy = turnout_up_policy(config.size ? config.at : "", config.size);
  uint64_t *token = policy ? malloc(sizeof *token) : NULL;
  if (token) *token = policy;
  return token;
}

HOOK(void, http_filter_config_destroy)(const void *token) {
  turnout_up_policy_gone(*(const uint64_t *)token);
  free((void *)token);
}

HOOK(const void *, http_filter_new)(const void *token, void *envoy) {
  return slot_take(envoy, *(const uint64_t *)token);
}

HOOK(void, http_filter_destroy)(const void *filter) {
  turnout_filter *f = (turnout_filter *)filter;
  f->envoy = NULL;
  if (f->asked && !f->ended) turnout_up_gone(f->key);
  slot_free(f);
}

/* ---- the request goes up once, whole ---- */

static bytes body_of(void *envoy, int kind) {
  size_t count = ENVOY(http_get_body_chunks_size)(envoy, kind);
  if (!count) return (bytes){"", 0};
  bytes few[16], *chunks = count <= 16 ? few : malloc(count * sizeof *chunks);
  if (!chunks) return (bytes){"", 0};
  ENVOY(http_get_body_chunks)(envoy, kind, chunks);
  bytes whole = chunks_join(chunks, count);
  if (chunks != few) free(chunks);
  return whole;
}

static bytes request_header(void *envoy, const char *name) {
  bytes value = {"", 0};
  if (!ENVOY(http_get_header)(envoy, REQUEST_HEADERS, (bytes){name, strlen(name)}, &value, 0, NULL)) return (bytes){"", 0};
  return value;
}

void ask(turnout_filter *f) {
  bytes method = request_header(f->envoy, ":method"), path = request_header(f->envoy, ":path");
  bytes body = body_of(f->envoy, BUFFERED_REQUEST_BODY);
  f->asked = true;
  turnout_up_request(f, f->key, f->policy, method.at, method.size, path.at, path.size, body.at, body.size);
}

static void requested(turnout_filter *f) {
  slot_wakeable(f);
  note_request(f);
}

HOOK(int, http_filter_request_headers)(void *envoy, const void *filter, bool end) {
  /* Else HTTP/2 would be bounded by its stream window. What is larger is Envoy's own 413. */
  if (!end) ENVOY(http_set_buffer_limit)(envoy, LARGEST_REQUEST);
  if (end) requested((turnout_filter *)filter);
  return HEADERS_STOP;
}

HOOK(int, http_filter_request_body)(void *envoy, const void *filter, bool end) {
  (void)envoy;
  if (end) requested((turnout_filter *)filter);
  return BODY_STOP_AND_BUFFER;
}

HOOK(int, http_filter_request_trailers)(void *envoy, const void *filter) {
  (void)envoy;
  requested((turnout_filter *)filter);
  return TRAILERS_STOP;
}

/* ---- the client ---- */

HOOK(void, http_filter_stream_complete)(void *envoy, const void *filter) {
  (void)envoy;
  turnout_filter *f = (turnout_filter *)filter;
  if (!f->asked) forget_pending(f);
  if (!f->asked || f->ended) return;
  f->left = true;
  tell_pending(f); /* what had come before it left counts: it is paid for */
  if (!f->ended) turnout_up_gone(f->key);
  f->ended = true;
}

HOOK(void, http_filter_scheduled)(void *envoy, const void *filter, uint64_t event) {
  (void)envoy;
  const turnout_filter *f = filter;
  if (event == COHORT)
    tell_cohort();
  else if (!f->ended && f->key == event)
    turnout_up_woken(f->key);
}

static void pressure(const turnout_filter *f, int above) {
  if (f->asked && !f->ended) turnout_up_pressure(f->key, above);
}

HOOK(void, http_filter_downstream_above_write_buffer_high_watermark)(void *envoy, const void *filter) {
  (void)envoy;
  pressure(filter, 1);
}

HOOK(void, http_filter_downstream_below_write_buffer_low_watermark)(void *envoy, const void *filter) {
  (void)envoy;
  pressure(filter, 0);
}

/* ---- the upstream streams ---- */

static turnout_head read_head(const pair *headers, size_t count) {
  turnout_head head = {.type = "", .retry_after = ""};
  for (size_t i = 0; i < count; i++) {
    const pair *h = &headers[i];
    if (IS(*h, ":status")) {
      for (size_t at = 0; at < h->value_size; at++) head.status = head.status * 10 + (h->value[at] - '0');
    } else if (IS(*h, "content-type")) {
      head.type = h->value, head.type_size = h->value_size;
    } else if (IS(*h, "retry-after")) {
      head.retry_after = h->value, head.retry_after_size = h->value_size;
    } else if (IS(*h, "x-turnout-genuine")) {
      /* A filter of the upstream cluster puts this on what a provider said; Envoy's own answers (503, 504) lack it. */
      head.genuine = 1;
    }
  }
  return head;
}

static bool is_event_stream(const turnout_head *head) {
  static const char name[] = "text/event-stream";
  return head->type_size >= sizeof name - 1 && !strncasecmp(head->type, name, sizeof name - 1);
}

HOOK(void, http_filter_http_stream_headers)(void *envoy, const void *filter, uint64_t stream, pair *headers, size_t count,
                                           bool end) {
  (void)envoy;
  turnout_filter *f = (turnout_filter *)filter;
  if (f->ended) return;
  stream = road_of(f, stream);
  turnout_head head = read_head(headers, count);
  if (end || is_event_stream(&head) || !answer_begin(f, stream, &head)) note_head(f, stream, &head, end);
}

/* What was collected so far goes up in pieces: it grew too large, or its stream was reset. */
static void stop_collecting(turnout_filter *f, answer *whole) {
  bytes so_far = {whole->body, whole->size};
  note_head(f, whole->stream, &whole->head, false);
  if (whole->size) note_data(f, whole->stream, &so_far, 1, false);
  answer_drop(f, whole->stream);
}

HOOK(void, http_filter_http_stream_data)(void *envoy, const void *filter, uint64_t stream, const bytes *chunks,
                                        size_t count, bool end) {
  (void)envoy;
  turnout_filter *f = (turnout_filter *)filter;
  if (f->ended) return;
  stream = road_of(f, stream);
  answer *whole = answer_of(f, stream);
  if (whole && answer_append(whole, chunks, count)) {
    if (end) note_answer(f, stream);
    return;
  }
  if (whole) stop_collecting(f, whole);
  note_data(f, stream, chunks, count, end);
}

HOOK(void, http_filter_http_stream_trailers)(void *envoy, const void *filter, uint64_t stream, pair *trailers,
                                            size_t count) {
  (void)envoy, (void)trailers, (void)count;
  turnout_filter *f = (turnout_filter *)filter;
  if (f->ended) return;
  stream = road_of(f, stream);
  answer *whole = answer_of(f, stream);
  if (whole)
    note_answer(f, stream);
  else
    note_end(f, stream);
}

HOOK(void, http_filter_http_stream_complete)(void *envoy, const void *filter, uint64_t stream) {
  /* The end was told with the head, the last data or the trailers. */
  (void)envoy, (void)filter, (void)stream;
}

HOOK(void, http_filter_http_stream_reset)(void *envoy, const void *filter, uint64_t stream, int reason) {
  (void)envoy, (void)reason;
  turnout_filter *f = (turnout_filter *)filter;
  if (f->ended) return;
  stream = road_of(f, stream);
  answer *whole = answer_of(f, stream);
  if (whole) stop_collecting(f, whole);
  note_reset(f, stream);
}
