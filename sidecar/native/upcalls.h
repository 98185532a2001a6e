/* C -> Python (`envoy/exports.py` defines them). Read twice: by the C compiler and by cffi.
 * Pointers hold for the call only. A policy or boot that is refused returns 0. */
uint64_t turnout_up_policy(const char *document, size_t size);
void turnout_up_policy_gone(uint64_t policy);

void turnout_up_request(turnout_filter *filter, uint64_t key, uint64_t policy, const char *method, size_t method_size,
                        const char *path, size_t path_size, const char *body, size_t body_size);
void turnout_up_answer(uint64_t key, uint64_t stream, const turnout_head *head, const char *body, size_t size);
void turnout_up_head(uint64_t key, uint64_t stream, const turnout_head *head, int end);
void turnout_up_data(uint64_t key, uint64_t stream, const char *data, size_t size, int end);
void turnout_up_end(uint64_t key, uint64_t stream);
void turnout_up_reset(uint64_t key, uint64_t stream);
void turnout_up_woken(uint64_t key);
void turnout_up_gone(uint64_t key);
void turnout_up_pressure(uint64_t key, int above);

int turnout_up_boot(void *config, const char *document, size_t size, uint32_t workers);
void turnout_up_ready(void);
void turnout_up_timer(void *timer);
void turnout_up_event(uint64_t event);
/* `head`: the answer's x-turnout- headers, packed: key NUL value NUL. */
void turnout_up_called(uint64_t call, int status, const char *head, size_t head_size, const char *body, size_t size);
void turnout_up_drain(void);
void turnout_up_shutdown(void);
