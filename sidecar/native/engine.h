/* What the C files of the engine share. The two halves that Python sees stand in `upcalls.h` and `downcalls.h`. */
#ifndef TURNOUT_ENGINE_H
#define TURNOUT_ENGINE_H

#include "abi.h"
#include "types.h"

#include "downcalls.h"
#include "upcalls.h"

/* An answer that is no event stream is collected here and goes up whole: one upcall instead of three or four. */
typedef struct answer {
  uint64_t stream;
  struct answer *next;
  turnout_head head;
  char *body;
  size_t size;
  size_t room;
} answer;

/* One client request. Slots are never freed, only reused under a new key, so a late wake from another thread reads
 * valid memory, sees another key and does nothing. */
struct event;
struct order;
struct turnout_filter {
  void *envoy;
  void *scheduler;
  uint64_t key;    /* one per request, never reused; 0 in a free slot */
  uint64_t policy; /* the filter config's token */
  bool asked;      /* Python has the request */
  bool left;       /* the client is gone: Envoy takes nothing more for it */
  bool ready;      /* events of it wait to be told */
  bool ended;      /* our last byte, or a reset, was handed to Envoy: nothing goes up any more */
  answer *answers;
  struct event *first_event, *last_event;
  turnout_filter *next_ready, *previous_ready;
  struct order *first_order, *last_order;
  turnout_filter *next_owing;
  uint64_t *road; /* Envoy's number of each upstream stream; ours is the place, counted from 1 */
  size_t roads, road_room;
  uint64_t opening; /* ours of the stream that is being opened */
  turnout_filter *next_free;
};

/* slots.c */
turnout_filter *slot_take(void *envoy, uint64_t policy);
void slot_wakeable(turnout_filter *filter);
void slot_free(turnout_filter *filter);

/* answers.c */
answer *answer_of(turnout_filter *filter, uint64_t stream);
answer *answer_begin(turnout_filter *filter, uint64_t stream, const turnout_head *head);
bool answer_append(answer *whole, const bytes *chunks, size_t count);
void answer_drop(turnout_filter *filter, uint64_t stream);
void answer_drop_all(turnout_filter *filter);

/* cohort.c: what Envoy tells of is noted, and told to Python together at the end of the loop's turn */
#define COHORT 0 /* the scheduler's event; a request's key is never 0 */
void note_request(turnout_filter *filter);
void note_head(turnout_filter *filter, uint64_t stream, const turnout_head *head, bool end);
void note_data(turnout_filter *filter, uint64_t stream, const bytes *chunks, size_t count, bool end);
void note_answer(turnout_filter *filter, uint64_t stream);
void note_end(turnout_filter *filter, uint64_t stream);
void note_reset(turnout_filter *filter, uint64_t stream);
void tell_pending(turnout_filter *filter);
void forget_pending(turnout_filter *filter);
void tell_cohort(void);

/* orders.c: what Python asks for is kept while a cohort is told, and carried out after */
void orders_collect(void);
void orders_carry_out(void);

/* roads.c */
uint64_t road_new(turnout_filter *filter);
void road_learn(turnout_filter *filter, uint64_t stream, uint64_t real);
bool road_real(const turnout_filter *filter, uint64_t stream, uint64_t *real);
uint64_t road_of(turnout_filter *filter, uint64_t real);
void roads_forget(turnout_filter *filter);

/* filter.c: tells Python of the whole request */
void ask(turnout_filter *filter);

/* headers.c: `packed` is key NUL value NUL … of `pairs` pairs; false when that is not so or a byte is not printable */
bool headers_unpack(const char *packed, size_t size, pair *out, size_t pairs);

/* chunks.c: the chunks as one piece, in place when there is one chunk, else in a buffer of this thread */
bytes chunks_join(const bytes *chunks, size_t count);

/* program.c */
void engine_log(int level, const char *words);

#endif
