/* What Python does with one client request and its upstream streams. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_HEADERS 64

int64_t turnout_start(turnout_filter *filter, const char *cluster, size_t cluster_size, const char *authority,
                      size_t authority_size, const char *path, size_t path_size, const char *packed, size_t packed_size,
                      size_t pairs, const char *body, size_t body_size) {
  enum { OURS = 4, CANNOT_SERVE = 4 };
  if (filter->left) return -CANNOT_SERVE;
  pair headers[MOST_HEADERS];
  char length[24];
  int digits = snprintf(length, sizeof length, "%zu", body_size);
  headers[0] = (pair){":method", 7, "POST", 4};
  headers[1] = (pair){":path", 5, path, path_size};
  headers[2] = (pair){"host", 4, authority, authority_size};
  headers[3] = (pair){"content-length", 14, length, (size_t)digits};
  if (pairs > MOST_HEADERS - OURS || !headers_unpack(packed, packed_size, headers + OURS, pairs)) return -100;
  uint64_t stream = 0;
  int failure = ENVOY(http_filter_start_http_stream)(filter->envoy, &stream, (bytes){cluster, cluster_size}, headers,
                                                     pairs + OURS, (bytes){body, body_size}, true, 0);
  return failure ? -failure : (int64_t)stream;
}

void turnout_cancel(turnout_filter *filter, uint64_t stream) {
  if (!filter->envoy || filter->ended) return; /* a finished request's streams are reset by Envoy */
  answer_drop(filter, stream);
  ENVOY(http_filter_reset_http_stream)(filter->envoy, stream);
}

int turnout_send_head(turnout_filter *filter, int status, const char *packed, size_t packed_size, size_t pairs) {
  pair headers[MOST_HEADERS];
  char digits[12];
  int size = snprintf(digits, sizeof digits, "%d", status);
  headers[0] = (pair){":status", 7, digits, (size_t)size};
  if (pairs > MOST_HEADERS - 1 || !headers_unpack(packed, packed_size, headers + 1, pairs)) return -1;
  if (filter->left) return 0;
  ENVOY(http_send_response_headers)(filter->envoy, headers, pairs + 1, false);
  return 0;
}

void turnout_send_data(turnout_filter *filter, const char *data, size_t size, int end) {
  /* Set first: Envoy may complete the stream inside the call, and that is then no client that left. */
  if (end) filter->ended = true;
  if (filter->left) return;
  ENVOY(http_send_response_data)(filter->envoy, (bytes){data, size}, end != 0);
}

void turnout_reset(turnout_filter *filter) {
  static const char why[] = "turnout_cut_after_commit";
  filter->ended = true;
  if (filter->left) return;
  ENVOY(http_filter_reset_stream)(filter->envoy, 0, (bytes){why, sizeof why - 1});
}

size_t turnout_header(turnout_filter *filter, const char *key, size_t size, size_t index, turnout_bytes *out) {
  size_t count = 0;
  bytes value = {NULL, 0};
  if (!filter->envoy) return 0;
  if (!ENVOY(http_get_header)(filter->envoy, REQUEST_HEADERS, (bytes){key, size}, &value, index, &count)) return 0;
  out->at = value.at;
  out->size = value.size;
  return count ? count : 1;
}

/* A key that begins with '#' carries a number. */
int turnout_facts(turnout_filter *filter, const char *packed, size_t packed_size, size_t pairs) {
  static const bytes space = {"turnout", 7};
  pair all[MOST_HEADERS];
  if (!filter->envoy) return 0;
  if (pairs > MOST_HEADERS || !headers_unpack(packed, packed_size, all, pairs)) return -1;
  size_t words = 0;
  for (size_t i = 0; i < pairs; i++) {
    if (all[i].key[0] == '#')
      ENVOY(http_set_dynamic_metadata_number)
      (filter->envoy, space, (bytes){all[i].key + 1, all[i].key_size - 1}, strtod(all[i].value, NULL));
    else
      all[words++] = all[i];
  }
  if (words) ENVOY(http_set_dynamic_metadata_string_batch)(filter->envoy, space, all, words);
  return 0;
}
