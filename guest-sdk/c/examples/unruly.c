/* unruly does what a daemon should not. It keeps a count in memory that no
 * hook can reach: the event "count" emits it, every good event adds 1. */
#define WASMHOST_IMPLEMENTATION
#include "../wasmhost.h"

static volatile uint64_t count;

static uint32_t __attribute__((noinline)) overflow(volatile uint32_t *depth) {
    volatile uint32_t here[16];
    here[*depth & 15] = *depth;
    *depth = *depth + 1;
    if (!*depth) return 0; /* after four thousand million calls */
    return overflow(depth) + here[*depth & 15];
}

/* recurse has nothing on the stack in memory, and calls itself by a pointer
 * lest the compiler make a loop of it. */
static uint32_t recurse(uint32_t depth);
static uint32_t (*volatile itself)(uint32_t) = recurse;
static uint32_t recurse(uint32_t depth) { return itself(depth + 1) + 1; }

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    count++;
    if (WH_IS(data, size, "count")) {
        char text[20];
        uint32_t at = sizeof text;
        for (uint64_t n = count; n; n /= 10) text[--at] = (char)('0' + n % 10);
        wh_emit(text + at, sizeof text - at);
    } else if (WH_IS(data, size, "trap")) {
        __builtin_trap();
    } else if (WH_IS(data, size, "panic")) {
        wh_panic("asked to panic");
    } else if (WH_IS(data, size, "loop")) {
        for (volatile uint32_t i = 0;; i++) {
        }
    } else if (WH_IS(data, size, "grow")) {
        while (wh_grow(1 << 20)) {
        }
        wh_panic("no more memory");
    } else if (WH_IS(data, size, "flood")) {
        for (;;) wh_emit(data, size);
    } else if (WH_IS(data, size, "recurse")) {
        wh_emit_text(recurse(0) ? "deep" : "deeper");
    } else if (WH_IS(data, size, "overflow")) {
        volatile uint32_t depth = 0;
        wh_emit_text(overflow(&depth) ? "deep" : "deeper");
    } else if (WH_IS(data, size, "log")) {
        for (int i = 0; i < 100000; i++) wh_log(WH_INFO, "all work and no play makes a dull log");
    } else if (WH_IS(data, size, "fail")) {
        return wh_fail(7, "asked to fail");
    } else if (WH_IS(data, size, "badptr")) {
        wh_emit((void *)0x7fffff00, 64);
    }
    return 0;
}
