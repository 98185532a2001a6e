/* The slots of client requests, and waking one from another thread.
 *
 * `turnout_wake` runs on Envoy's main thread while the worker may be destroying the very request. Commit and delete of
 * its scheduler therefore share one lock, and the key tells whether the slot still is the request that was meant.
 */
#include "engine.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static turnout_filter *free_slots;
static uint64_t last_key;

turnout_filter *slot_take(void *envoy, uint64_t policy) {
  pthread_mutex_lock(&lock);
  turnout_filter *slot = free_slots;
  if (slot)
    free_slots = slot->next_free;
  else
    slot = malloc(sizeof *slot);
  if (slot) *slot = (turnout_filter){.envoy = envoy, .policy = policy, .key = ++last_key};
  pthread_mutex_unlock(&lock);
  return slot;
}

void slot_wakeable(turnout_filter *filter) {
  filter->scheduler = ENVOY(http_filter_scheduler_new)(filter->envoy);
}

void slot_free(turnout_filter *filter) {
  forget_pending(filter);
  answer_drop_all(filter);
  roads_forget(filter);
  pthread_mutex_lock(&lock);
  if (filter->scheduler) ENVOY(http_filter_scheduler_delete)(filter->scheduler);
  filter->scheduler = NULL;
  filter->envoy = NULL;
  filter->key = 0;
  filter->next_free = free_slots;
  free_slots = filter;
  pthread_mutex_unlock(&lock);
}

void turnout_wake(turnout_filter *filter, uint64_t key) {
  pthread_mutex_lock(&lock);
  if (filter->key == key && filter->scheduler) ENVOY(http_filter_scheduler_commit)(filter->scheduler, key);
  pthread_mutex_unlock(&lock);
}
