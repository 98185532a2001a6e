/* Most events of a stream differ in one string only. What frames it was checked once, as JSON; here the string is. */
#include "engine.h"

#include <string.h>

/* The length of the well-formed UTF-8 sequence at `at`, 0 where there is none (Unicode 15, table 3-7). */
static size_t sequence(const unsigned char *at, size_t left) {
  unsigned char a = at[0], b = left > 1 ? at[1] : 0;
  size_t size;
  if (a >= 0xC2 && a <= 0xDF) size = 2;
  else if (a >= 0xE0 && a <= 0xEF) size = 3;
  else if (a >= 0xF0 && a <= 0xF4) size = 4;
  else return 0;
  if (left < size) return 0;
  if ((a == 0xE0 && b < 0xA0) || (a == 0xED && b > 0x9F) || (a == 0xF0 && b < 0x90) || (a == 0xF4 && b > 0x8F)) return 0;
  for (size_t i = 1; i < size; i++)
    if ((at[i] & 0xC0) != 0x80) return 0;
  return size;
}

/* The length of the JSON string's inside at `at`, up to its quote; 0 where it is empty, cut off, or not this function's to judge. */
static size_t text(const unsigned char *at, size_t left) {
  size_t used = 0;
  while (used < left) {
    unsigned char c = at[used];
    if (c == '"') return used;
    if (c < 0x20) return 0;
    if (c == '\\') {
      if (left - used < 2 || !at[used + 1] || !strchr("\"\\/bfnrt", at[used + 1])) return 0;
      used += 2;
    } else if (c < 0x80) {
      used++;
    } else {
      size_t size = sequence(at + used, left - used);
      if (!size) return 0;
      used += size;
    }
  }
  return 0;
}

int64_t turnout_alike(const char *data, size_t size, const char *head, size_t head_size, const char *tail,
                      size_t tail_size) {
  size_t used = 0;
  int64_t count = 0;
  while (size - used > head_size + tail_size && !memcmp(data + used, head, head_size)) {
    size_t at = used + head_size;
    size_t inside = text((const unsigned char *)data + at, size - at);
    at += inside;
    if (!inside || size - at < tail_size || memcmp(data + at, tail, tail_size)) break;
    used = at + tail_size;
    count++;
  }
  return count << 32 | (int64_t)used;
}
