/* Hooks that Envoy demands of every module and the engine has no use for. */
#include "abi.h"

#define UNUSED __attribute__((unused))

HOOK(const void *, http_filter_per_route_config_new)(bytes name UNUSED, bytes config UNUSED) { return NULL; }
HOOK(void, http_filter_per_route_config_destroy)(const void *config UNUSED) {}
HOOK(int, http_filter_response_headers)(void *envoy UNUSED, const void *filter UNUSED, bool end UNUSED) { return 0; }
HOOK(int, http_filter_response_body)(void *envoy UNUSED, const void *filter UNUSED, bool end UNUSED) { return 0; }
HOOK(int, http_filter_response_trailers)(void *envoy UNUSED, const void *filter UNUSED) { return 0; }
HOOK(int, http_filter_local_reply)(void *envoy UNUSED, const void *filter UNUSED, uint32_t status UNUSED,
                                  bytes details UNUSED, bool reset UNUSED) {
  return 0;
}
HOOK(void, http_filter_http_callout_done)(void *envoy UNUSED, const void *filter UNUSED, uint64_t call UNUSED,
                                         int result UNUSED, pair *headers UNUSED, size_t count UNUSED,
                                         bytes *body UNUSED, size_t chunks UNUSED) {}

HOOK(void, http_filter_config_scheduled)(void *envoy UNUSED, const void *config UNUSED, uint64_t event UNUSED) {}
HOOK(void, http_filter_config_http_callout_done)(void *envoy UNUSED, const void *config UNUSED, uint64_t call UNUSED,
                                                int result UNUSED, pair *headers UNUSED, size_t count UNUSED,
                                                bytes *body UNUSED, size_t chunks UNUSED) {}
HOOK(void, http_filter_config_http_stream_headers)(void *envoy UNUSED, const void *config UNUSED, uint64_t id UNUSED,
                                                  pair *headers UNUSED, size_t count UNUSED, bool end UNUSED) {}
HOOK(void, http_filter_config_http_stream_data)(void *envoy UNUSED, const void *config UNUSED, uint64_t id UNUSED,
                                               const bytes *data UNUSED, size_t count UNUSED, bool end UNUSED) {}
HOOK(void, http_filter_config_http_stream_trailers)(void *envoy UNUSED, const void *config UNUSED, uint64_t id UNUSED,
                                                   pair *trailers UNUSED, size_t count UNUSED) {}
HOOK(void, http_filter_config_http_stream_complete)(void *envoy UNUSED, const void *config UNUSED, uint64_t id UNUSED) {}
HOOK(void, http_filter_config_http_stream_reset)(void *envoy UNUSED, const void *config UNUSED, uint64_t id UNUSED,
                                                int reason UNUSED) {}

HOOK(void, bootstrap_extension_config_destroy)(const void *config UNUSED) {}
HOOK(void, bootstrap_extension_destroy)(const void *extension UNUSED) {}
HOOK(void, bootstrap_extension_worker_thread_initialized)(void *envoy UNUSED, const void *extension UNUSED) {}
HOOK(void, bootstrap_extension_file_changed)(void *envoy UNUSED, const void *config UNUSED, bytes path UNUSED,
                                            uint32_t events UNUSED) {}
HOOK(uint32_t, bootstrap_extension_admin_request)(void *envoy UNUSED, const void *config UNUSED, bytes method UNUSED,
                                                 bytes path UNUSED, bytes body UNUSED) {
  return 404;
}
HOOK(void, bootstrap_extension_cluster_add_or_update)(void *envoy UNUSED, const void *config UNUSED, bytes name UNUSED) {}
HOOK(void, bootstrap_extension_cluster_removal)(void *envoy UNUSED, const void *config UNUSED, bytes name UNUSED) {}
HOOK(void, bootstrap_extension_listener_add_or_update)(void *envoy UNUSED, const void *config UNUSED, bytes name UNUSED) {}
HOOK(void, bootstrap_extension_listener_removal)(void *envoy UNUSED, const void *config UNUSED, bytes name UNUSED) {}
