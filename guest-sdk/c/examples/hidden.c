/* hidden counts its events in a mutable global that is not exported, and
 * nowhere else: nothing of its state is in memory, and it has no hooks. */
#define WASMHOST_IMPLEMENTATION
#include "../wasmhost.h"

__asm__(".globaltype hidden, i64\n"
        "hidden:\n");

static uint64_t count(void) {
    uint64_t n;
    __asm__ volatile("global.get hidden\n"
                     "i64.const 1\n"
                     "i64.add\n"
                     "global.set hidden\n"
                     "global.get hidden\n"
                     "local.set %0\n"
                     : "=r"(n));
    return n;
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    (void)data;
    (void)size;
    char text[20];
    uint32_t at = sizeof text;
    for (uint64_t n = count(); n; n /= 10) text[--at] = (char)('0' + n % 10);
    wh_emit(text + at, sizeof text - at);
    return 0;
}
