/* Python -> C. Read twice: by the C compiler and by cffi. Headers are packed: key NUL value NUL, `pairs` times. */
int64_t turnout_start(turnout_filter *filter, const char *cluster, size_t cluster_size, const char *authority,
                      size_t authority_size, const char *path, size_t path_size, const char *packed, size_t packed_size,
                      size_t pairs, const char *body, size_t body_size);
void turnout_cancel(turnout_filter *filter, uint64_t stream);
int turnout_send_head(turnout_filter *filter, int status, const char *packed, size_t packed_size, size_t pairs);
void turnout_send_data(turnout_filter *filter, const char *data, size_t size, int end);
void turnout_reset(turnout_filter *filter);
size_t turnout_header(turnout_filter *filter, const char *key, size_t size, size_t index, turnout_bytes *out);
int turnout_facts(turnout_filter *filter, const char *packed, size_t packed_size, size_t pairs);
void turnout_wake(turnout_filter *filter, uint64_t key);

void *turnout_timer(void *config);
void turnout_timer_enable(void *timer, uint64_t delay_ms);
void *turnout_scheduler(void *config);
void turnout_post(void *scheduler, uint64_t event);
int64_t turnout_call(void *config, const char *cluster, size_t cluster_size, const char *packed, size_t packed_size,
                     size_t pairs, const char *body, size_t body_size, uint64_t timeout_ms);
void turnout_initialized(void *config);
void turnout_shutdown_done(void);

int64_t turnout_define(void *config, int kind, const char *name, size_t name_size, turnout_bytes *labels, size_t count);
int turnout_count(void *config, size_t id, turnout_bytes *labels, size_t count, uint64_t by);
int turnout_gauge(void *config, size_t id, turnout_bytes *labels, size_t count, uint64_t value);
/* On the worker. The labels' array must live as long as the process. */
void turnout_observe(void *config, size_t id, turnout_bytes *labels, size_t count, uint64_t value);

void turnout_log(int level, const char *words, size_t size);

/* How many events `data` begins with that are `head`, some text and `tail`: their number << 32 | their size. */
int64_t turnout_alike(const char *data, size_t size, const char *head, size_t head_size, const char *tail, size_t tail_size);
