/* The upstream streams of one request: our number for each, given when it is asked for, and Envoy's, known once it is open. */
#include "engine.h"

#include <stdlib.h>

#define UNKNOWN UINT64_MAX

uint64_t road_new(turnout_filter *f) {
  if (f->roads == f->road_room) {
    size_t room = f->road_room ? 2 * f->road_room : 4;
    uint64_t *grown = realloc(f->road, room * sizeof *grown);
    if (!grown) return 0;
    f->road = grown;
    f->road_room = room;
  }
  f->road[f->roads] = UNKNOWN;
  return ++f->roads;
}

void road_learn(turnout_filter *f, uint64_t stream, uint64_t real) { f->road[stream - 1] = real; }

bool road_real(const turnout_filter *f, uint64_t stream, uint64_t *real) {
  if (!stream || stream > f->roads || f->road[stream - 1] == UNKNOWN) return false;
  *real = f->road[stream - 1];
  return true;
}

/* Ours for Envoy's. Envoy may tell of a stream inside the call that opens it: then it is the one being opened. */
uint64_t road_of(turnout_filter *f, uint64_t real) {
  for (size_t i = 0; i < f->roads; i++)
    if (f->road[i] == real) return i + 1;
  if (f->opening) road_learn(f, f->opening, real);
  return f->opening;
}

void roads_forget(turnout_filter *f) {
  free(f->road);
  f->road = NULL;
  f->roads = f->road_room = 0;
}
