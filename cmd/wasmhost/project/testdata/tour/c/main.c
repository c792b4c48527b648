/* A tour of everything that the SDK has. */
#define WASMHOST_IMPLEMENTATION
#define WASMHOST_INIT
#define WASMHOST_HOOKS
#include "wasmhost.h"

int32_t wh_on_init(const uint8_t *config, uint32_t size) {
    return WH_IS(config, size, "tour") ? 0 : wh_fail(1, "the configuration is tour");
}

static int32_t all(const uint8_t *data, uint32_t size) {
    uint8_t id[32], bytes[4];
    wh_emit(data, size);
    WH_ASSERT(wh_publish("news", "p", 1) == WH_DONE);
    wh_daemon_id(id);
    WH_ASSERT(wh_send(id, "s", 1) == WH_DONE);
    WH_ASSERT(wh_timer_after(1000000000, "ring", 4) > 0);
    wh_timer_cancel(wh_timer(wh_event_time() + 2000000000, "never", 5));
    wh_random(bytes, sizeof bytes);
    WH_ASSERT(wh_now() == wh_event_time());
    return wh_grow(16) ? 0 : wh_fail(1, "no memory");
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    char line[3 + 255 + 1] = {0};
    uint8_t id[32];
    wh_log(WH_INFO, "an event");
    if (WH_IS(data, size, "fail")) return wh_fail(7, "told to");
    if (WH_IS(data, size, "panic")) wh_panic("told to");
    if (WH_IS(data, size, "all") && all(data, size)) return 1;
    if (wh_event_kind() == WH_DAEMON) {
        wh_event_sender(id);
        WH_ASSERT(wh_send(id, "s", 1) == WH_DONE);
    }
    line[0] = (char)('0' + wh_event_sequence());
    line[1] = (char)('0' + wh_event_kind());
    line[2] = wh_event_origin() ? '+' : '-';
    WH_ASSERT(wh_event_kind() != WH_TIMER || wh_event_channel(line + 3, 255) == 0);
    wh_event_channel(line + 3, 255);
    wh_emit_text(line);
    return 0;
}

int32_t wh_on_snapshot(const uint8_t **out, uint32_t *size) {
    static const uint8_t state[1];
    *out = state;
    *size = 0;
    return 0;
}

int32_t wh_on_restore(const uint8_t *data, uint32_t size) {
    (void)data;
    return size == 0 ? 0 : wh_fail(3, "no state was saved");
}
