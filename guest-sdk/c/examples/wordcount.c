/* wordcount counts the words of the lines it is sent. A word is a run of ASCII
 * letters and digits, lower-cased. "?totals" emits "word count" lines sorted by
 * word; "?lines" emits how many lines were counted. */
#define WASMHOST_IMPLEMENTATION
#define WASMHOST_HOOKS
#include "../wasmhost.h"

typedef struct {
    const uint8_t *text;
    uint32_t size;
    uint64_t count;
} word;

static word *words; /* sorted */
static uint32_t used, room;
static uint64_t lines;

static uint8_t *out; /* the last report */
static uint32_t out_size, out_room;

static int compare(const uint8_t *a, uint32_t an, const uint8_t *b, uint32_t bn) {
    int c = memcmp(a, b, an < bn ? an : bn);
    return c ? c : an < bn ? -1 : an > bn;
}

static void *must_grow(uint32_t size) {
    void *p = wh_grow(size);
    if (!p) wh_panic("out of memory");
    return p;
}

/* find returns where the word is, or belongs. */
static uint32_t find(const uint8_t *text, uint32_t size, bool *there) {
    uint32_t lo = 0, hi = used;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = compare(words[mid].text, words[mid].size, text, size);
        if (c == 0) {
            *there = true;
            return mid;
        }
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    *there = false;
    return lo;
}

static void add(const uint8_t *text, uint32_t size, uint64_t count) {
    bool there;
    uint32_t at = find(text, size, &there);
    if (there) {
        words[at].count += count;
        return;
    }
    if (used == room) {
        uint32_t more = room ? room * 2 : 256;
        word *w = (word *)must_grow(more * sizeof(word));
        for (uint32_t i = 0; i < used; i++) w[i] = words[i];
        words = w;
        room = more;
    }
    uint8_t *copy = (uint8_t *)must_grow(size);
    memcpy(copy, text, size);
    for (uint32_t i = used; i > at; i--) words[i] = words[i - 1];
    words[at] = (word){copy, size, count};
    used++;
}

static uint8_t fold(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return (uint8_t)(c + 32);
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) return c;
    return 0;
}

static void count_line(const uint8_t *data, uint32_t size) {
    static uint8_t *buf;
    static uint32_t cap;
    if (size > cap) {
        cap = size * 2;
        buf = (uint8_t *)must_grow(cap);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i <= size; i++) {
        uint8_t c = i < size ? fold(data[i]) : 0;
        if (c) buf[n++] = c;
        else if (n) {
            add(buf, n, 1);
            n = 0;
        }
    }
    lines++;
}

static uint32_t digits(uint64_t n, char text[20]) {
    uint32_t at = 20;
    do text[--at] = (char)('0' + n % 10);
    while (n /= 10);
    return at;
}

static void put(const void *data, uint32_t size) {
    if (out_size + size > out_room) {
        uint32_t more = (out_size + size) * 2;
        uint8_t *p = (uint8_t *)must_grow(more);
        memcpy(p, out, out_size);
        out = p;
        out_room = more;
    }
    memcpy(out + out_size, data, size);
    out_size += size;
}

static void put_number(uint64_t n) {
    char text[20];
    uint32_t at = digits(n, text);
    put(text + at, 20 - at);
}

static void put_totals(void) {
    for (uint32_t i = 0; i < used; i++) {
        if (i) put("\n", 1);
        put(words[i].text, words[i].size);
        put(" ", 1);
        put_number(words[i].count);
    }
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    out_size = 0;
    if (WH_IS(data, size, "?totals")) {
        put_totals();
        wh_emit(out, out_size);
    } else if (WH_IS(data, size, "?lines")) {
        put_number(lines);
        wh_emit(out, out_size);
    } else {
        count_line(data, size);
    }
    return 0;
}

/* The state is the number of lines, a newline, and what ?totals emits. */
int32_t wh_on_snapshot(const uint8_t **state, uint32_t *size) {
    out_size = 0;
    put_number(lines);
    put("\n", 1);
    put_totals();
    *state = out;
    *size = out_size;
    return 0;
}

static bool number(const uint8_t *data, uint32_t *at, uint32_t size, uint8_t end, uint64_t *n) {
    uint32_t start = *at;
    *n = 0;
    while (*at < size && data[*at] >= '0' && data[*at] <= '9') *n = *n * 10 + (data[(*at)++] - '0');
    if (*at == start || *at - start > 19) return false;
    if (*at == size) return end == '\n' && start > 0;
    return data[(*at)++] == end;
}

int32_t wh_on_restore(const uint8_t *data, uint32_t size) {
    uint32_t at = 0;
    used = 0;
    if (!number(data, &at, size, '\n', &lines)) return wh_fail(3, "malformed state: no number of lines");
    while (at < size) {
        uint32_t start = at;
        while (at < size && fold(data[at]) == data[at] && data[at]) at++;
        uint32_t n = at - start;
        uint64_t count;
        if (n == 0 || at >= size || data[at++] != ' ' || !number(data, &at, size, '\n', &count))
            return wh_fail(3, "malformed state: not a word and a count");
        add(data + start, n, count);
    }
    return 0;
}
