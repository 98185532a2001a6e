/* Read twice: by the C compiler and, as plain declarations, by cffi. */
typedef struct turnout_filter turnout_filter;

typedef struct {
  int status;
  const char *type;
  size_t type_size;
  const char *retry_after;
  size_t retry_after_size;
  int genuine;
} turnout_head;

typedef struct {
  const char *at;
  size_t size;
} turnout_bytes;
