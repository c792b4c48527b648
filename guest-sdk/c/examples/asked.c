/* asked counts its events, and answers questions about them. The event "long" takes long.
 * Questions: "count" is answered with the count, "write" and "grow" change memory first,
 * "size" is answered with the pages of memory, "slow" takes its time. The others are what a query must not do: "loop",
 * "trap", "fail", "emit", "send", "timer", "huge", "bad". */
#define WASMHOST_IMPLEMENTATION
#define WASMHOST_QUERY
#include "../wasmhost.h"

static uint64_t count;
static uint8_t number[20];
static volatile uint32_t spin;

static const uint8_t *decimal(uint64_t n, uint32_t *size) {
    uint32_t at = sizeof number;
    for (; n || at == sizeof number; n /= 10) number[--at] = (uint8_t)('0' + n % 10);
    *size = sizeof number - at;
    return number + at;
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    count++;
    if (WH_IS(data, size, "long"))
        for (uint32_t i = 0; i < 60000000; i++) spin++;
    uint32_t n;
    const uint8_t *text = decimal(count, &n);
    wh_emit(text, n);
    return 0;
}

int32_t wh_on_query(const uint8_t *data, uint32_t size, const uint8_t **answer, uint32_t *n) {
    static const uint8_t nobody[32] = {1};
    if (WH_IS(data, size, "loop"))
        for (;;) spin++;
    if (WH_IS(data, size, "trap")) wh_panic("asked to trap");
    if (WH_IS(data, size, "fail")) return wh_fail(1, "asked to fail");
    if (WH_IS(data, size, "emit")) wh_emit("x", 1);
    if (WH_IS(data, size, "send")) wh_send(nobody, "x", 1);
    if (WH_IS(data, size, "timer")) wh_timer_after(1, "x", 1);
    if (WH_IS(data, size, "slow"))
        for (uint32_t i = 0; i < 20000000; i++) spin++;
    if (WH_IS(data, size, "write")) count += 1000;
    if (WH_IS(data, size, "grow")) memset(wh_grow(1 << 20), 1, 1 << 20);
    if (WH_IS(data, size, "size")) {
        *answer = decimal(__builtin_wasm_memory_size(0), n);
        return 0;
    }
    *answer = decimal(count, n);
    if (WH_IS(data, size, "huge")) {
        *answer = wh_grow(5 << 20);
        *n = 5 << 20;
    }
    if (WH_IS(data, size, "bad")) *n = 0x7fffffff, *answer = (const uint8_t *)0x70000000;
    return 0;
}
