/* What Python does with one client request at once; the rest stands in `orders.c`. */
#include "engine.h"

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
