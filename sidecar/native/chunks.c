/* Envoy hands bodies over in pieces, empty ones included (their pointer may be NULL); Python wants one piece. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

static __thread char *joined;
static __thread size_t room;

bytes chunks_join(const bytes *chunks, size_t count) {
  if (!count) return (bytes){"", 0};
  if (count == 1) return chunks[0].size ? chunks[0] : (bytes){"", 0};
  size_t size = 0;
  for (size_t i = 0; i < count; i++) size += chunks[i].size;
  if (room < size) {
    free(joined);
    joined = malloc(size);
    room = joined ? size : 0;
    if (!joined) return (bytes){"", 0};
  }
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    if (!chunks[i].size) continue;
    memcpy(joined + used, chunks[i].at, chunks[i].size);
    used += chunks[i].size;
  }
  return (bytes){joined, size};
}
