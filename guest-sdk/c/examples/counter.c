/* counter counts its events and emits the count. Configuration {"start":N}
 * sets where it starts; the event "fail" fails. */
#define WASMHOST_IMPLEMENTATION
#define WASMHOST_INIT
#define WASMHOST_HOOKS
#include "../wasmhost.h"

static uint64_t count;
static uint8_t state[8];

int32_t wh_on_init(const uint8_t *config, uint32_t size) {
    if (size == 0) return 0;
    static const char head[] = "{\"start\":";
    uint32_t at = 0, from = 0;
    uint8_t text[64];
    for (uint32_t i = 0; i < size && at < sizeof text; i++) /* white space does not matter */
        if (config[i] != ' ' && config[i] != '\t' && config[i] != '\n' && config[i] != '\r') text[at++] = config[i];
    from = sizeof head - 1;
    if (at < from + 2 || memcmp(text, head, from) != 0 || text[at - 1] != '}') return wh_fail(2, "configuration must be {\"start\":N}");
    uint64_t n = 0;
    for (uint32_t i = from; i < at - 1; i++) {
        if (text[i] < '0' || text[i] > '9' || n > 100000000000000000u) return wh_fail(2, "configuration must be {\"start\":N}");
        n = n * 10 + (text[i] - '0');
    }
    count = n;
    return 0;
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    if (WH_IS(data, size, "fail")) return wh_fail(1, "asked to fail");
    count++;
    char text[20];
    uint32_t at = sizeof text;
    for (uint64_t n = count; n || at == sizeof text; n /= 10) text[--at] = (char)('0' + n % 10);
    wh_emit(text + at, sizeof text - at);
    return 0;
}

int32_t wh_on_snapshot(const uint8_t **out, uint32_t *size) {
    for (int i = 0; i < 8; i++) state[i] = (uint8_t)(count >> 8 * i);
    *out = state;
    *size = sizeof state;
    return 0;
}

int32_t wh_on_restore(const uint8_t *data, uint32_t size) {
    if (size != 8) return wh_fail(3, "a counter's state has 8 bytes");
    uint64_t n = 0;
    for (int i = 0; i < 8; i++) n |= (uint64_t)data[i] << 8 * i;
    count = n;
    return 0;
}
