/* forgetful keeps two counts, of events and of events since the last "mark",
 * and its hooks forget the second: a daemon that is restored through them
 * answers "since" with less than one whose memory was captured. Every other
 * event is answered with the first count. The snapshot fails right after "sulk". */
#define WASMHOST_IMPLEMENTATION
#define WASMHOST_HOOKS
#include "../wasmhost.h"

static uint64_t all, since;
static uint8_t state[8];
static bool sulks;

static void emit_number(uint64_t n) {
    char text[20];
    uint32_t at = sizeof text;
    for (; n || at == sizeof text; n /= 10) text[--at] = (char)('0' + n % 10);
    wh_emit(text + at, sizeof text - at);
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    if (WH_IS(data, size, "fail")) return wh_fail(1, "asked to fail");
    all++;
    sulks = WH_IS(data, size, "sulk");
    since = WH_IS(data, size, "mark") ? 0 : since + 1;
    emit_number(WH_IS(data, size, "since") ? since : all);
    return 0;
}

int32_t wh_on_snapshot(const uint8_t **out, uint32_t *size) {
    if (sulks) return wh_fail(5, "it does not want to");
    for (int i = 0; i < 8; i++) state[i] = (uint8_t)(all >> 8 * i);
    *out = state;
    *size = sizeof state;
    return 0;
}

int32_t wh_on_restore(const uint8_t *data, uint32_t size) {
    if (size != 8) return wh_fail(3, "the state has 8 bytes");
    all = 0;
    for (int i = 0; i < 8; i++) all |= (uint64_t)data[i] << 8 * i;
    return 0;
}
