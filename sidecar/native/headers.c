/* Packed headers -> Envoy's array. The last line of defence against header injection: a value from a client or a model
 * can never become a second header or a second response here. */
#include "engine.h"

#include <string.h>

static const char *printable_until_nul(const char *from, const char *limit) {
  for (const char *at = from; at < limit; at++) {
    unsigned char c = (unsigned char)*at;
    if (!c) return at;
    if ((c < 0x20 && c != '\t') || c == 0x7f) return NULL;
  }
  return NULL;
}

bool headers_unpack(const char *packed, size_t size, pair *out, size_t pairs) {
  const char *at = packed, *limit = packed + size;
  for (size_t i = 0; i < pairs; i++) {
    const char *key_end = printable_until_nul(at, limit);
    if (!key_end || key_end == at) return false;
    const char *value_end = printable_until_nul(key_end + 1, limit);
    if (!value_end) return false;
    out[i] = (pair){at, (size_t)(key_end - at), key_end + 1, (size_t)(value_end - key_end - 1)};
    at = value_end + 1;
  }
  return at == limit;
}
