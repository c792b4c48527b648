/* What several examples need: words, numbers, lines put together, memory that
 * is given back. */
#include "../wasmhost.h"

typedef struct {
    const uint8_t *at;
    uint32_t size;
} text;

/* word takes the next word of a line, which ends at a space. */
static inline text word(text *line) {
    text w = {line->at, 0};
    while (w.size < line->size && line->at[w.size] != ' ') w.size++;
    uint32_t taken = w.size < line->size ? w.size + 1 : w.size;
    line->at += taken;
    line->size -= taken;
    return w;
}

static inline int compare(text a, text b) {
    int c = memcmp(a.at, b.at, a.size < b.size ? a.size : b.size);
    return c ? c : a.size < b.size ? -1 : a.size > b.size;
}

static inline bool is(text t, const char *s) { return t.size == wh_strlen(s) && memcmp(t.at, s, t.size) == 0; }

/* number reads digits alone, at most max. */
static inline bool number(text t, uint64_t max, uint64_t *n) {
    *n = 0;
    for (uint32_t i = 0; i < t.size; i++) {
        if (t.at[i] < '0' || t.at[i] > '9') return false;
        *n = *n * 10 + (t.at[i] - '0');
        if (*n > max) return false;
    }
    return t.size > 0 && t.size <= 19;
}

static char line_bytes[8192];
static uint32_t line_used;

static inline void begin(void) { line_used = 0; }
static inline void put(text t) {
    WH_ASSERT(t.size <= sizeof line_bytes - line_used);
    memcpy(line_bytes + line_used, t.at, t.size);
    line_used += t.size;
}
static inline void put_text(const char *s) { put((text){(const uint8_t *)s, wh_strlen(s)}); }
static inline void put_number(int64_t v) {
    char digits[20];
    uint32_t at = sizeof digits;
    uint64_t n = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    if (v < 0) digits[--at] = '-';
    put((text){(const uint8_t *)digits + at, sizeof digits - at});
}
static inline void end(void) { wh_emit(line_bytes, line_used); }
