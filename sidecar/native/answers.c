/* Collecting answers that are no event stream. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

/* Above this an answer goes up in pieces as it arrives, so that a provider cannot fill the sidecar's memory here. */
#define WHOLE_AT_MOST ((size_t)8 << 20)

answer *answer_of(turnout_filter *filter, uint64_t stream) {
  for (answer *a = filter->answers; a; a = a->next)
    if (a->stream == stream) return a;
  return NULL;
}

static const char *keep(const char *from, size_t size) {
  char *copy = malloc(size + 1);
  if (copy) memcpy(copy, from, size);
  return copy;
}

answer *answer_begin(turnout_filter *filter, uint64_t stream, const turnout_head *head) {
  answer *a = calloc(1, sizeof *a);
  if (!a) return NULL;
  a->stream = stream;
  a->head = *head;
  a->head.type = keep(head->type, head->type_size);
  a->head.retry_after = keep(head->retry_after, head->retry_after_size);
  a->next = filter->answers;
  filter->answers = a;
  return a;
}

bool answer_append(answer *whole, const bytes *chunks, size_t count) {
  size_t more = 0;
  for (size_t i = 0; i < count; i++) more += chunks[i].size;
  if (whole->size + more > WHOLE_AT_MOST) return false;
  if (whole->size + more > whole->room) {
    size_t room = whole->room ? whole->room : 4096;
    while (room < whole->size + more) room *= 2;
    char *grown = realloc(whole->body, room);
    if (!grown) return false;
    whole->body = grown;
    whole->room = room;
  }
  for (size_t i = 0; i < count; i++) {
    if (!chunks[i].size) continue;
    memcpy(whole->body + whole->size, chunks[i].at, chunks[i].size);
    whole->size += chunks[i].size;
  }
  return true;
}

static void release(answer *a) {
  free((char *)a->head.type);
  free((char *)a->head.retry_after);
  free(a->body);
  free(a);
}

void answer_drop(turnout_filter *filter, uint64_t stream) {
  for (answer **at = &filter->answers; *at; at = &(*at)->next) {
    if ((*at)->stream != stream) continue;
    answer *gone = *at;
    *at = gone->next;
    release(gone);
    return;
  }
}

void answer_drop_all(turnout_filter *filter) {
  while (filter->answers) answer_drop(filter, filter->answers->stream);
}
