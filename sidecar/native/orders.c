/* What Python asks for while a cohort is told is done after it, for the reason that stands in `cohort.c`: the decisions for one request
 * after the other, then Envoy's work for one after the other. Outside a cohort it is done at once.
 *
 * A stream is named by a number of ours, given when it is asked for; Envoy's own becomes known when it is opened.
 */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_HEADERS 64
#define OURS 4

enum kind { START, HEAD, DATA, FACTS };

struct order {
  enum kind kind;
  bool end;
  int status;
  uint64_t stream;
  size_t pairs;
  size_t size;
  struct order *next;
  bytes cluster, authority, path, packed, body; /* into what follows */
  char kept[];
};

static turnout_filter *first_owing, *last_owing;
static bool collecting;

/* ---- doing ---- */

static int open_stream(turnout_filter *f, const struct order *o, uint64_t *real) {
  pair headers[MOST_HEADERS];
  char length[24];
  int digits = snprintf(length, sizeof length, "%zu", o->body.size);
  headers[0] = (pair){":method", 7, "POST", 4};
  headers[1] = (pair){":path", 5, o->path.at, o->path.size};
  headers[2] = (pair){"host", 4, o->authority.at, o->authority.size};
  headers[3] = (pair){"content-length", 14, length, (size_t)digits};
  headers_unpack(o->packed.at, o->packed.size, headers + OURS, o->pairs);
  f->opening = o->stream;
  int failure = ENVOY(http_filter_start_http_stream)(f->envoy, real, o->cluster, headers, o->pairs + OURS, o->body, true, 0);
  f->opening = 0;
  if (!failure) road_learn(f, o->stream, *real);
  return failure;
}

static void start(turnout_filter *f, const struct order *o) {
  uint64_t real = 0;
  if (!open_stream(f, o, &real)) return;
  /* Told as Envoy tells of a cluster that cannot be reached, which it is: nothing was sent. */
  static const char words[] = "no healthy upstream: the cluster is unknown, warming or empty";
  turnout_head head = {.status = 503, .type = "text/plain", .type_size = 10, .retry_after = ""};
  bytes body = {words, sizeof words - 1};
  answer *whole = answer_begin(f, o->stream, &head);
  if (whole && answer_append(whole, &body, 1))
    note_answer(f, o->stream);
  else
    note_reset(f, o->stream);
}

static void send_head(turnout_filter *f, const struct order *o) {
  pair headers[MOST_HEADERS];
  char digits[12];
  int size = snprintf(digits, sizeof digits, "%d", o->status);
  headers[0] = (pair){":status", 7, digits, (size_t)size};
  headers_unpack(o->packed.at, o->packed.size, headers + 1, o->pairs);
  ENVOY(http_send_response_headers)(f->envoy, headers, o->pairs + 1, false);
}

/* A key that begins with '#' carries a number. */
static void record(turnout_filter *f, const struct order *o) {
  static const bytes space = {"turnout", 7};
  pair all[MOST_HEADERS];
  headers_unpack(o->packed.at, o->packed.size, all, o->pairs);
  size_t words = 0;
  for (size_t i = 0; i < o->pairs; i++) {
    bytes key = {all[i].key + 1, all[i].key_size - 1};
    if (all[i].key[0] == '#')
      ENVOY(http_set_dynamic_metadata_number)(f->envoy, space, key, strtod(all[i].value, NULL));
    else
      all[words++] = all[i];
  }
  if (words) ENVOY(http_set_dynamic_metadata_string_batch)(f->envoy, space, all, words);
}

static void carry_out(turnout_filter *f, const struct order *o) {
  if (!f->envoy) return;
  if (o->kind == FACTS) {
    record(f, o); /* also for a client that left: its line in the access log comes now */
    return;
  }
  if (f->left) return;
  if (o->kind == START) start(f, o);
  if (o->kind == HEAD) send_head(f, o);
  if (o->kind == DATA) ENVOY(http_send_response_data)(f->envoy, o->body, o->end);
}

/* ---- values for histograms ---- */

#define MOST_VALUES 512

static struct {
  void *config;
  size_t id;
  bytes *labels; /* Python keeps the arrays of all label sets for the life of the process */
  size_t count;
  uint64_t value;
} values[MOST_VALUES];
static size_t value_count;

static void hand_over_values(void) {
  for (size_t i = 0; i < value_count; i++)
    ENVOY(bootstrap_extension_config_record_histogram_value)
    (values[i].config, values[i].id, values[i].labels, values[i].count, values[i].value);
  value_count = 0;
}

void turnout_observe(void *config, size_t id, turnout_bytes *labels, size_t count, uint64_t value) {
  if (!collecting || value_count == MOST_VALUES) {
    ENVOY(bootstrap_extension_config_record_histogram_value)(config, id, (bytes *)labels, count, value);
    return;
  }
  values[value_count].config = config;
  values[value_count].id = id;
  values[value_count].labels = (bytes *)labels;
  values[value_count].count = count;
  values[value_count++].value = value;
}

/* ---- keeping ---- */

static void owe(turnout_filter *f, struct order *o) {
  if (f->last_order) {
    f->last_order->next = o;
  } else {
    f->first_order = o;
    f->next_owing = NULL;
    if (last_owing)
      last_owing->next_owing = f;
    else
      first_owing = f;
    last_owing = f;
  }
  f->last_order = o;
}

/* Copies the words of the order behind it; `o` comes with pointers to Python's. */
static void take(turnout_filter *f, struct order o) {
  if (!collecting) {
    carry_out(f, &o);
    return;
  }
  bytes *words[] = {&o.cluster, &o.authority, &o.path, &o.packed, &o.body};
  size_t size = 0;
  for (size_t i = 0; i < 5; i++) size += words[i]->size;
  struct order *kept = malloc(sizeof *kept + size);
  if (!kept) abort(); /* an answer that is lost would hang a client */
  char *at = kept->kept;
  for (size_t i = 0; i < 5; i++) {
    if (words[i]->size) memcpy(at, words[i]->at, words[i]->size);
    words[i]->at = at;
    at += words[i]->size;
  }
  o.next = NULL;
  *kept = o;
  owe(f, kept);
}

void orders_collect(void) { collecting = true; }

void orders_carry_out(void) {
  collecting = false;
  hand_over_values();
  while (first_owing) {
    turnout_filter *f = first_owing;
    first_owing = f->next_owing;
    if (!first_owing) last_owing = NULL;
    while (f->first_order) {
      struct order *o = f->first_order;
      f->first_order = o->next;
      if (!o->next) f->last_order = NULL;
      carry_out(f, o);
      free(o);
    }
  }
}

/* An attempt that was asked for and taken back in the same cohort is never made. */
static bool take_back(turnout_filter *f, uint64_t stream) {
  for (struct order *o = f->first_order; o; o = o->next) {
    if (o->kind != START || o->stream != stream) continue;
    o->kind = DATA;
    o->body.size = 0;
    return true;
  }
  return false;
}

/* ---- what Python calls ---- */

static bool sound(const char *packed, size_t size, size_t pairs, size_t most) {
  pair scratch[MOST_HEADERS];
  return pairs <= most && headers_unpack(packed, size, scratch, pairs);
}

int64_t turnout_start(turnout_filter *filter, const char *cluster, size_t cluster_size, const char *authority,
                      size_t authority_size, const char *path, size_t path_size, const char *packed, size_t packed_size,
                      size_t pairs, const char *body, size_t body_size) {
  enum { CANNOT_SERVE = 4, UNSOUND = 100 };
  if (!sound(packed, packed_size, pairs, MOST_HEADERS - OURS)) return -UNSOUND;
  if (filter->left) return -CANNOT_SERVE;
  uint64_t stream = road_new(filter);
  if (!stream) return -CANNOT_SERVE;
  take(filter, (struct order){.kind = START,
                              .stream = stream,
                              .pairs = pairs,
                              .cluster = {cluster, cluster_size},
                              .authority = {authority, authority_size},
                              .path = {path, path_size},
                              .packed = {packed, packed_size},
                              .body = {body, body_size}});
  return (int64_t)stream;
}

void turnout_cancel(turnout_filter *filter, uint64_t stream) {
  if (!filter->envoy || filter->ended) return; /* a finished request's streams are reset by Envoy */
  answer_drop(filter, stream);
  if (take_back(filter, stream)) return;
  uint64_t real;
  if (road_real(filter, stream, &real)) ENVOY(http_filter_reset_http_stream)(filter->envoy, real);
}

int turnout_send_head(turnout_filter *filter, int status, const char *packed, size_t packed_size, size_t pairs) {
  if (!sound(packed, packed_size, pairs, MOST_HEADERS - 1)) return -1;
  take(filter, (struct order){.kind = HEAD, .status = status, .pairs = pairs, .packed = {packed, packed_size}});
  return 0;
}

void turnout_send_data(turnout_filter *filter, const char *data, size_t size, int end) {
  /* Set first: Envoy may complete the stream inside the call, and that is then no client that left. */
  if (end) filter->ended = true;
  take(filter, (struct order){.kind = DATA, .end = end != 0, .body = {data, size}});
}

int turnout_facts(turnout_filter *filter, const char *packed, size_t packed_size, size_t pairs) {
  if (!sound(packed, packed_size, pairs, MOST_HEADERS)) return -1;
  take(filter, (struct order){.kind = FACTS, .pairs = pairs, .packed = {packed, packed_size}});
  return 0;
}
