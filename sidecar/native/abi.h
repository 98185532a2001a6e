/* The part of Envoy's dynamic modules ABI that the engine uses: declarations of our own for v0.2.0 (Envoy 1.40).
 *
 * Envoy's buffer types for "owned by Envoy" and "owned by the module" have one layout, so they are one type here.
 * `program.c` refuses to load in an Envoy that does not carry exactly this version.
 */
#ifndef TURNOUT_ABI_H
#define TURNOUT_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef TURNOUT_ABI
#define TURNOUT_ABI "v0.2.0"
#endif

#define HOOK(type, name) __attribute__((visibility("default"))) type envoy_dynamic_module_on_##name
#define ENVOY(name) envoy_dynamic_module_callback_##name

typedef struct {
  const char *at;
  size_t size;
} bytes;

typedef struct {
  const char *key;
  size_t key_size;
  const char *value;
  size_t value_size;
} pair;

enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_CRITICAL };
enum header_map { REQUEST_HEADERS, REQUEST_TRAILERS, RESPONSE_HEADERS, RESPONSE_TRAILERS };
enum body_kind { RECEIVED_REQUEST_BODY, BUFFERED_REQUEST_BODY };
enum headers_status { HEADERS_CONTINUE, HEADERS_STOP };
enum body_status { BODY_CONTINUE, BODY_STOP_AND_BUFFER, BODY_STOP_AND_WATERMARK, BODY_STOP_NO_BUFFER };
enum trailers_status { TRAILERS_CONTINUE, TRAILERS_STOP };

/* process */
void ENVOY(log)(int level, bytes message);
uint32_t ENVOY(get_concurrency)(void);

/* one HTTP filter */
bool ENVOY(http_get_header)(void *filter, int map, bytes key, bytes *value, size_t index, size_t *count);
size_t ENVOY(http_get_body_chunks_size)(void *filter, int kind);
bool ENVOY(http_get_body_chunks)(void *filter, int kind, bytes *chunks);
void ENVOY(http_set_buffer_limit)(void *filter, uint64_t limit);
int ENVOY(http_filter_start_http_stream)(void *filter, uint64_t *id, bytes cluster, pair *headers, size_t count,
                                         bytes body, bool end, uint64_t timeout_ms);
void ENVOY(http_filter_reset_http_stream)(void *filter, uint64_t id);
void ENVOY(http_send_response_headers)(void *filter, pair *headers, size_t count, bool end);
void ENVOY(http_send_response_data)(void *filter, bytes data, bool end);
void ENVOY(http_filter_reset_stream)(void *filter, int reason, bytes details);
void ENVOY(http_set_dynamic_metadata_string_batch)(void *filter, bytes space, const pair *entries, size_t count);
void ENVOY(http_set_dynamic_metadata_number)(void *filter, bytes space, bytes key, double value);
void *ENVOY(http_filter_scheduler_new)(void *filter);
void ENVOY(http_filter_scheduler_commit)(void *scheduler, uint64_t event);
void ENVOY(http_filter_scheduler_delete)(void *scheduler);

/* the bootstrap extension */
void ENVOY(bootstrap_extension_config_signal_init_complete)(void *config);
int ENVOY(bootstrap_extension_http_callout)(void *config, uint64_t *id, bytes cluster, pair *headers, size_t count,
                                            bytes body, uint64_t timeout_ms);
void *ENVOY(bootstrap_extension_timer_new)(void *config);
void ENVOY(bootstrap_extension_timer_enable)(void *timer, uint64_t delay_ms);
void *ENVOY(bootstrap_extension_config_scheduler_new)(void *config);
void ENVOY(bootstrap_extension_config_scheduler_commit)(void *scheduler, uint64_t event);
int ENVOY(bootstrap_extension_config_define_counter)(void *config, bytes name, bytes *labels, size_t count, size_t *id);
int ENVOY(bootstrap_extension_config_define_gauge)(void *config, bytes name, bytes *labels, size_t count, size_t *id);
int ENVOY(bootstrap_extension_config_define_histogram)(void *config, bytes name, bytes *labels, size_t count,
                                                       size_t *id);
int ENVOY(bootstrap_extension_config_increment_counter)(void *config, size_t id, bytes *values, size_t count,
                                                        uint64_t by);
int ENVOY(bootstrap_extension_config_set_gauge)(void *config, size_t id, bytes *values, size_t count, uint64_t value);
int ENVOY(bootstrap_extension_config_record_histogram_value)(void *config, size_t id, bytes *values, size_t count,
                                                             uint64_t value);

#endif
