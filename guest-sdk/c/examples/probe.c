/* probe does what abi/vectors.md says, for the golden vectors. */
#define WASMHOST_IMPLEMENTATION
#define WASMHOST_INIT
#define WASMHOST_HOOKS
#include "text.h"

static uint64_t count;
static uint8_t state[8];

static void emit_number(uint64_t n) {
    char digits[20];
    uint32_t at = sizeof digits;
    do digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    wh_emit(digits + at, sizeof digits - at);
}

static void emit_hex(const uint8_t *b, uint32_t size) {
    begin();
    for (uint32_t i = 0; i < 2 * size; i++) put((text){(const uint8_t *)&"0123456789abcdef"[b[i / 2] >> (i % 2 ? 0 : 4) & 15], 1});
    end();
}

int32_t wh_on_init(const uint8_t *config, uint32_t size) {
    if (size > 0 && !number((text){config, size}, 1000000000000000000, &count)) return wh_fail(2, "configuration is a number");
    return 0;
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    uint8_t id[32];
    if (WH_IS(data, size, "count")) {
        emit_number(++count);
    } else if (WH_IS(data, size, "emit")) {
        wh_emit_text("a");
        wh_emit("", 0);
        wh_emit_text("b");
    } else if (WH_IS(data, size, "event")) {
        char channel[255];
        emit_number(wh_event_sequence());
        emit_number((uint64_t)wh_event_time());
        emit_number(wh_event_origin());
        wh_event_sender(id);
        emit_hex(id, sizeof id);
        wh_emit(channel, wh_event_channel(channel, sizeof channel));
    } else if (WH_IS(data, size, "self")) {
        wh_daemon_id(id);
        emit_hex(id, sizeof id);
    } else if (WH_IS(data, size, "random")) {
        wh_random(id, 16);
        emit_hex(id, 16);
    } else if (WH_IS(data, size, "log")) {
        wh_log(WH_DEBUG, "debug");
        wh_log(WH_INFO, "info");
        wh_log(WH_WARN, "warn");
        wh_log(WH_ERROR, "error");
    } else if (WH_IS(data, size, "kind")) {
        emit_number(wh_event_kind());
    } else if (WH_IS(data, size, "publish")) {
        emit_number((uint64_t)wh_publish("news", "hello", 5));
    } else if (WH_IS(data, size, "secret")) {
        emit_number((uint64_t)wh_publish("secret", "hello", 5));
    } else if (WH_IS(data, size, "misnamed")) {
        emit_number((uint64_t)wh_publish("No such channel", "hello", 5));
    } else if (WH_IS(data, size, "reply")) {
        wh_event_sender(id);
        emit_number((uint64_t)wh_send(id, "hi", 2));
    } else if (WH_IS(data, size, "timer") || WH_IS(data, size, "cancel")) {
        int64_t timer = wh_timer_after(3600000000000, "ring", 4);
        if (data[0] == 'c') wh_timer_cancel(timer);
        emit_number((uint64_t)timer);
    } else if (WH_IS(data, size, "undone")) {
        wh_publish("news", "hello", 5);
        return wh_fail(7, "undone");
    } else if (WH_IS(data, size, "fail")) {
        count++;
        return wh_fail(7, "failed: \xc3\xa4");
    } else if (WH_IS(data, size, "panic")) {
        count++;
        wh_panic("at the disco");
    } else {
        emit_number(size);
    }
    return 0;
}

int32_t wh_on_snapshot(const uint8_t **out, uint32_t *size) {
    for (int i = 0; i < 8; i++) state[i] = (uint8_t)(count >> 8 * i);
    *out = state;
    *size = sizeof state;
    return 0;
}

int32_t wh_on_restore(const uint8_t *data, uint32_t size) {
    if (size != 8) return wh_fail(3, "the state has 8 bytes");
    count = 0;
    for (int i = 0; i < 8; i++) count |= (uint64_t)data[i] << 8 * i;
    return 0;
}
