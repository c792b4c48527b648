/* heap is a daemon of any size, for measuring how one moves. An event is a
 * letter and a number:
 *
 *   r 64    take 64 MiB more memory, filled with what does not compress
 *   t 64    the same, filled with what does: lines of text
 *   w 100   write to 100 pages, one after the other, round and round
 *   s 1000  compute for about so many thousand steps, and write to one page
 *
 * It emits how many events it has applied and a number that depends on all of
 * them and on the pages that they wrote to. */
#define WASMHOST_IMPLEMENTATION
#include "../wasmhost.h"

enum { PAGE = 4096 };

static uint64_t events, mixed = 88172645463325252ull;
static uint8_t *heap[64];
static uint32_t pages[64], chunks, at_chunk, at_page;

static uint64_t step(void) { /* xorshift64 (Marsaglia, 2003) */
    mixed ^= mixed << 13;
    mixed ^= mixed >> 7;
    return mixed ^= mixed << 17;
}

static int take(uint32_t mib, int text) {
    static const char words[] = "the quick brown fox jumps over the lazy dog and packs a box with five dozen jugs; ";
    uint8_t *p = wh_grow(mib << 20);
    if (!p || chunks == 64) return wh_fail(1, "no more memory");
    heap[chunks] = p;
    pages[chunks++] = mib << 8;
    for (uint32_t i = 0; i < mib << 20; i += 8) {
        uint64_t v = step();
        if (text) __builtin_memcpy(&v, words + (i + (v & 1)) % (sizeof words - 9), 8);
        __builtin_memcpy(p + i, &v, 8);
    }
    return 0;
}

static void touch(uint32_t n) {
    while (n-- && chunks) {
        uint64_t *p = (uint64_t *)(heap[at_chunk] + (uint64_t)at_page * PAGE);
        mixed += *p;
        *p = step();
        if (++at_page == pages[at_chunk]) {
            at_page = 0;
            at_chunk = (at_chunk + 1) % chunks;
        }
    }
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    uint32_t n = 0;
    for (uint32_t i = 1; i < size; i++) {
        if (data[i] >= '0' && data[i] <= '9') n = n * 10 + data[i] - '0';
    }
    int32_t err = 0;
    switch (size ? data[0] : 0) {
    case 'r': err = take(n, 0); break;
    case 't': err = take(n, 1); break;
    case 'w': touch(n); break;
    case 's':
        for (uint32_t i = 0; i < n * 1000; i++) step();
        touch(1);
        break;
    default: return wh_fail(2, "an event is r, t, w or s and a number");
    }
    if (err) return err;
    events++;
    char text[48];
    uint32_t at = sizeof text;
    uint64_t v = mixed;
    for (int i = 0; i < 16; i++, v >>= 4) text[--at] = "0123456789abcdef"[v & 15];
    text[--at] = ' ';
    uint64_t e = events;
    do text[--at] = (char)('0' + e % 10); while (e /= 10);
    wh_emit(text + at, sizeof text - at);
    return 0;
}
