/* Events wait for each other, and Python hears of them together.
 *
 * Envoy's code and Python's evict each other from the caches and the branch predictor: the same decision took 3.3 times as long between
 * two of Envoy's turns as it did alone. So an event is only noted when Envoy tells of it, and one callback at the end of the same turn
 * of Envoy's loop takes all that were noted. Nothing waits longer for it: the callback is run before the loop sleeps.
 *
 * Worker thread only. A filter that is destroyed leaves; if it was the one that would have been called back, another takes its place.
 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

enum kind { REQUEST, HEAD, DATA, ANSWER, END, RESET };

struct event {
  enum kind kind;
  bool end;
  uint64_t stream;
  struct event *next;
  turnout_head head;
  size_t size;
  size_t room;
  char *bytes;
};

static turnout_filter *first_ready, *last_ready, *called_back;

static void call_back(void) {
  called_back = first_ready;
  if (called_back) ENVOY(http_filter_scheduler_commit)(called_back->scheduler, COHORT);
}

static void make_ready(turnout_filter *f) {
  if (f->ready) return;
  f->ready = true;
  f->next_ready = NULL;
  f->previous_ready = last_ready;
  if (last_ready)
    last_ready->next_ready = f;
  else
    first_ready = f;
  last_ready = f;
  if (!called_back) call_back();
}

static void unready(turnout_filter *f) {
  if (!f->ready) return;
  f->ready = false;
  if (f->previous_ready)
    f->previous_ready->next_ready = f->next_ready;
  else
    first_ready = f->next_ready;
  if (f->next_ready)
    f->next_ready->previous_ready = f->previous_ready;
  else
    last_ready = f->previous_ready;
}

static struct event *note(turnout_filter *f, enum kind kind, uint64_t stream, bool end) {
  struct event *event = calloc(1, sizeof *event);
  if (!event) abort(); /* an event that is lost would hang a client and hold money for ever */
  event->kind = kind;
  event->stream = stream;
  event->end = end;
  if (f->last_event)
    f->last_event->next = event;
  else
    f->first_event = event;
  f->last_event = event;
  make_ready(f);
  return event;
}

static void append(struct event *event, const bytes *chunks, size_t count) {
  size_t more = 0;
  for (size_t i = 0; i < count; i++) more += chunks[i].size;
  if (event->size + more > event->room) {
    event->room = event->size + more + (event->size ? 4096 : 0);
    event->bytes = realloc(event->bytes, event->room);
    if (!event->bytes) abort();
  }
  for (size_t i = 0; i < count; i++) {
    if (!chunks[i].size) continue;
    memcpy(event->bytes + event->size, chunks[i].at, chunks[i].size);
    event->size += chunks[i].size;
  }
}

void note_request(turnout_filter *f) { note(f, REQUEST, 0, true); }

void note_head(turnout_filter *f, uint64_t stream, const turnout_head *head, bool end) {
  struct event *event = note(f, HEAD, stream, end);
  bytes words[2] = {{head->type, head->type_size}, {head->retry_after, head->retry_after_size}};
  append(event, words, 2);
  event->head = *head;
}

void note_data(turnout_filter *f, uint64_t stream, const bytes *chunks, size_t count, bool end) {
  struct event *last = f->last_event;
  if (last && last->kind == DATA && last->stream == stream && !last->end) {
    last->end = end;
    append(last, chunks, count);
  } else {
    append(note(f, DATA, stream, end), chunks, count);
  }
}

void note_answer(turnout_filter *f, uint64_t stream) { note(f, ANSWER, stream, true); }

void note_end(turnout_filter *f, uint64_t stream) { note(f, END, stream, true); }

void note_reset(turnout_filter *f, uint64_t stream) { note(f, RESET, stream, true); }

static void tell_answer(turnout_filter *f, uint64_t stream) {
  answer *whole = answer_of(f, stream);
  if (!whole) return; /* cancelled meanwhile */
  turnout_up_answer(f->key, stream, &whole->head, whole->body ? whole->body : "", whole->size);
  answer_drop(f, stream);
}

static void tell(turnout_filter *f, struct event *e) {
  switch (e->kind) {
  case REQUEST:
    ask(f);
    break;
  case HEAD:
    e->head.type = e->bytes ? e->bytes : "";
    e->head.retry_after = e->head.type + e->head.type_size;
    turnout_up_head(f->key, e->stream, &e->head, e->end);
    break;
  case DATA:
    if (e->size || e->end) turnout_up_data(f->key, e->stream, e->bytes ? e->bytes : "", e->size, e->end);
    break;
  case ANSWER:
    tell_answer(f, e->stream);
    break;
  case END:
    turnout_up_end(f->key, e->stream);
    break;
  case RESET:
    turnout_up_reset(f->key, e->stream);
    break;
  }
}

static struct event *take(turnout_filter *f) {
  struct event *event = f->first_event;
  f->first_event = event->next;
  if (!event->next) f->last_event = NULL;
  return event;
}

static void release(struct event *event) {
  free(event->bytes);
  free(event);
}

void tell_pending(turnout_filter *f) {
  while (f->first_event) {
    struct event *event = take(f);
    if (!f->ended) tell(f, event);
    release(event);
  }
  unready(f);
}

void forget_pending(turnout_filter *f) {
  while (f->first_event) release(take(f));
  unready(f);
  if (called_back == f) call_back();
}

void tell_cohort(void) {
  while (first_ready) {
    orders_collect();
    while (first_ready) tell_pending(first_ready);
    orders_carry_out();
  }
  called_back = NULL;
}
