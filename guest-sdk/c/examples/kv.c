/* kv is a key-value store with range queries. A key is 1 to 64 bytes without a
 * space, a value at most 4096 bytes.
 *
 *   put KEY VALUE           emits "ok"
 *   get KEY                 emits the value
 *   del KEY                 emits "ok"
 *   range FROM TO [LIMIT]   emits "KEY VALUE" for each key from FROM to before TO,
 *                           in order of bytes; TO may be - for the end; LIMIT is
 *                           100 unless told, at most 1000
 *   count                   emits how many keys there are
 *
 * Failures: 2 not a command, 4 no such key. */
#define WASMHOST_IMPLEMENTATION
#include "text.h"

typedef struct {
    text key, value; /* both in pieces of their own */
} entry;

static entry *entries; /* sorted by key */
static uint32_t used, room;

/* Memory comes in powers of two; what is given back is used again. */
static void *spare[32];

static uint32_t class_of(uint32_t size) {
    uint32_t c = 4;
    while ((1u << c) < size) c++;
    return c;
}
static uint8_t *take(uint32_t size) {
    uint32_t c = class_of(size);
    void **p = spare[c];
    if (p) spare[c] = *p;
    else if (!(p = wh_grow(1u << c))) wh_panic("out of memory");
    return (uint8_t *)p;
}
static void give(const void *piece, uint32_t size) {
    void **p = (void **)(uintptr_t)piece;
    uint32_t c = class_of(size);
    *p = spare[c];
    spare[c] = p;
}
static text keep(text t) {
    uint8_t *p = take(t.size);
    memcpy(p, t.at, t.size);
    return (text){p, t.size};
}

/* find returns where the key is, or belongs. */
static uint32_t find(text key, bool *there) {
    uint32_t lo = 0, hi = used;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (compare(entries[mid].key, key) < 0) lo = mid + 1;
        else hi = mid;
    }
    *there = lo < used && compare(entries[lo].key, key) == 0;
    return lo;
}

static int32_t put_entry(text key, text value) {
    bool there;
    uint32_t at = find(key, &there);
    if (there) {
        give(entries[at].value.at, entries[at].value.size);
        entries[at].value = keep(value);
        return 0;
    }
    if (used == room) {
        uint32_t more = room ? room * 2 : 64;
        entry *e = (entry *)(void *)take(more * sizeof(entry));
        for (uint32_t i = 0; i < used; i++) e[i] = entries[i];
        if (room) give(entries, room * sizeof(entry));
        entries = e;
        room = more;
    }
    for (uint32_t i = used; i > at; i--) entries[i] = entries[i - 1];
    entries[at] = (entry){keep(key), keep(value)};
    used++;
    return 0;
}

static void remove_entry(uint32_t at) {
    give(entries[at].key.at, entries[at].key.size);
    give(entries[at].value.at, entries[at].value.size);
    used--;
    for (uint32_t i = at; i < used; i++) entries[i] = entries[i + 1];
}

static int32_t range(text from, text to, uint64_t limit) {
    bool there;
    for (uint32_t i = find(from, &there); i < used && limit; i++, limit--) {
        if (!is(to, "-") && compare(entries[i].key, to) >= 0) break;
        begin();
        put(entries[i].key);
        put_text(" ");
        put(entries[i].value);
        end();
    }
    return 0;
}

static bool is_key(text t) { return t.size >= 1 && t.size <= 64; }

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    text line = {data, size}, command = word(&line);
    bool there;
    if (is(command, "count") && line.size == 0) {
        begin();
        put_number(used);
        end();
        return 0;
    }
    text key = word(&line);
    if (is_key(key) && is(command, "put") && line.size <= 4096) {
        put_entry(key, line);
        wh_emit_text("ok");
        return 0;
    }
    if (is_key(key) && is(command, "range")) {
        text to = word(&line);
        uint64_t limit = 100;
        if (is_key(to) && (line.size == 0 || number(line, 1000, &limit))) return range(key, to, limit);
        return wh_fail(2, "not a command");
    }
    bool get = is(command, "get");
    if (!is_key(key) || line.size > 0 || (!get && !is(command, "del"))) return wh_fail(2, "not a command");
    uint32_t at = find(key, &there);
    if (!there) return wh_fail(4, "no such key");
    if (get) {
        wh_emit(entries[at].value.at, entries[at].value.size);
        return 0;
    }
    remove_entry(at);
    wh_emit_text("ok");
    return 0;
}
