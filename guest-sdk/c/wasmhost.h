/* wasmhost.h: write wasmhost daemons in C (or C++), contract version 1.
 *
 * Define WASMHOST_IMPLEMENTATION in exactly one file before including this
 * header, and there also what applies of
 *
 *   WASMHOST_INIT       the daemon takes configuration: wh_on_init
 *   WASMHOST_HOOKS      its state can go over to another version of the code:
 *                       wh_on_snapshot and wh_on_restore
 *   WASMHOST_QUERY      it answers questions: wh_on_query
 *   WASMHOST_STATELESS  nothing is kept between events
 *   WASMHOST_LIBC       a libc is linked
 *
 * Then write the functions that the daemon answers, below.
 */
#ifndef WASMHOST_H
#define WASMHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WASMHOST_ABI_VERSION 1

#if defined(WASMHOST_LIBC) || !defined(__wasm__)
#include <stdlib.h>
#include <string.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What the daemon answers. Input is valid until the function returns. A result
 * other than 0 is an error code: the event leaves no trace, and the sender gets
 * the code with the text given to wh_fail. */
int32_t wh_on_event(const uint8_t *data, uint32_t size);
int32_t wh_on_init(const uint8_t *config, uint32_t size);    /* WASMHOST_INIT */
int32_t wh_on_snapshot(const uint8_t **state, uint32_t *size); /* WASMHOST_HOOKS: the bytes must stay in place until the next call */
int32_t wh_on_restore(const uint8_t *state, uint32_t size);  /* WASMHOST_HOOKS */

/* WASMHOST_QUERY: answers a question. What it changes is undone; it may neither emit nor act.
 * The answer's bytes must stay in place until the next call. */
int32_t wh_on_query(const uint8_t *data, uint32_t size, const uint8_t **answer, uint32_t *answer_size);

/* What the host offers. Elsewhere than in a module it is wasmhost_test.h that does. */
#ifdef __wasm__
#define WH_IMPORT(name) __attribute__((import_module("wasmhost"), import_name(name)))
#else
#define WH_IMPORT(name)
#endif
WH_IMPORT("emit") void wh_emit(const void *data, uint32_t size);              /* one output; copied at once */
WH_IMPORT("fail") void wh_fail_bytes(const char *text, uint32_t size);        /* the text of the error that this call returns */
WH_IMPORT("log") void wh_log_bytes(int32_t level, const char *text, uint32_t size);
WH_IMPORT("event_origin") uint64_t wh_event_origin(void);     /* the sender's origin hash; 0: anonymous */
WH_IMPORT("event_sequence") uint64_t wh_event_sequence(void); /* 1 for the first event applied */
WH_IMPORT("event_time") int64_t wh_event_time(void);          /* Unix nanoseconds, as recorded */
WH_IMPORT("event_sender") void wh_event_sender(uint8_t id[32]); /* zeros: no key is proven */
WH_IMPORT("event_channel") uint32_t wh_event_channel(char *name, uint32_t cap); /* its length; 0: a direct event */
WH_IMPORT("event_kind") uint32_t wh_event_kind(void);         /* one of the kinds below */
WH_IMPORT("daemon_id") void wh_daemon_id(uint8_t id[32]);
WH_IMPORT("now") int64_t wh_now(void);                        /* as wh_event_time */
WH_IMPORT("random") void wh_random(void *out, uint32_t size); /* the same again on replay */

/* Kinds of events: sent to the daemon; of a channel; a gap, 16 bytes: sequences of
 * the first and the last lost event, little-endian, zeros where they are not known;
 * a timer of its own; sent by another daemon, which is proven; asked by another daemon,
 * which is proven and waits for an answer; a call of its own that has ended. */
enum { WH_DIRECT = 0, WH_CHANNEL = 1, WH_GAP = 2, WH_TIMER = 3, WH_DAEMON = 4, WH_ASKED = 5, WH_REPLY = 6, WH_QUERY = 7 /* in wh_on_query */ };

/* What the daemon does to others, once the event is durable; a failed event does
 * nothing. Payloads are copied at once. To publish and to send it must have been
 * granted that when it was spawned. */
enum { WH_DONE = 0, WH_DENIED = 1, WH_INVALID = 2, WH_TOO_LARGE = 3 }; /* answers */
WH_IMPORT("publish") int32_t wh_publish_bytes(const char *channel, uint32_t channel_size, const void *data, uint32_t size);
WH_IMPORT("send") int32_t wh_send(const uint8_t id[32], const void *data, uint32_t size); /* to a daemon, wherever it is */
WH_IMPORT("timer") int64_t wh_timer(int64_t at, const void *data, uint32_t size); /* an event of kind WH_TIMER at that time, Unix nanoseconds; the timer's number, or minus an answer */
WH_IMPORT("timer_cancel") void wh_timer_cancel(int64_t timer); /* one that is not there is no error */

/* Calls between daemons. wh_ask sends an event of kind WH_ASKED; how the call ends comes as
 * one of kind WH_REPLY with that wh_event_call. The deadline is in Unix nanoseconds; 0: it
 * never passes. What is asked is answered in that event or in a later one, by what
 * wh_event_call was in it; the first answer counts. */
WH_IMPORT("ask") int64_t wh_ask(const uint8_t id[32], const void *data, uint32_t size, int64_t deadline); /* the call's number, or minus an answer */
WH_IMPORT("answer") int32_t wh_answer(uint64_t call, const void *data, uint32_t size);
WH_IMPORT("refuse") int32_t wh_refuse(uint64_t call, const char *reason, uint32_t size);
WH_IMPORT("event_call") uint64_t wh_event_call(void);     /* 0: the event is of another kind */
WH_IMPORT("event_status") uint32_t wh_event_status(void); /* of WH_REPLY, one of these */
enum { WH_ANSWERED = 0, WH_REFUSED = 1, WH_FAILED = 2, WH_NO_SUCH_DAEMON = 3, WH_TIMED_OUT = 4, WH_FORKED = 5 };

enum { WH_DEBUG = 0, WH_INFO = 1, WH_WARN = 2, WH_ERROR = 3 };

static inline uint32_t wh_strlen(const char *s) {
    uint32_t n = 0;
    while (s[n]) n++;
    return n;
}
static inline int32_t wh_publish(const char *channel, const void *data, uint32_t size) { return wh_publish_bytes(channel, wh_strlen(channel), data, size); }
/* wh_timer_after is wh_timer at so many nanoseconds after the event. */
static inline int64_t wh_timer_after(int64_t ns, const void *data, uint32_t size) { return wh_timer(wh_now() + ns, data, size); }
static inline void wh_emit_text(const char *text) { wh_emit(text, wh_strlen(text)); }
static inline void wh_log(int32_t level, const char *text) { wh_log_bytes(level, text, wh_strlen(text)); }

/* WH_IS compares an event with a literal; it is cheap where the sizes differ. */
#define WH_IS(data, size, literal) ((size) == sizeof(literal) - 1 && memcmp((data), (literal), sizeof(literal) - 1) == 0)
#if !defined(WASMHOST_LIBC) && defined(__wasm__)
int memcmp(const void *a, const void *b, size_t n);
void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
#endif

/* wh_fail gives the text and returns the code, for return wh_fail(1, "..."). */
static inline int32_t wh_fail(int32_t code, const char *text) {
    wh_fail_bytes(text, wh_strlen(text));
    return code;
}

/* wh_panic ends the call with a trap that carries the text. */
static inline __attribute__((noreturn)) void wh_panic(const char *text) {
    wh_fail_bytes(text, wh_strlen(text));
    __builtin_trap();
}

/* WH_ASSERT panics with the condition and its place unless it holds. */
#define WH_TEXT_(x) #x
#define WH_TEXT(x) WH_TEXT_(x)
#define WH_ASSERT(x) ((x) ? (void)0 : wh_panic("assertion failed: " #x " at " __FILE__ ":" WH_TEXT(__LINE__)))

/* wh_grow returns size fresh bytes of memory, zeroed, for ever; 0 when there
 * are no more. With WASMHOST_LIBC, and in tests, they are malloc's. */
void *wh_grow(uint32_t size);

#define WH_EXPORT(name) __attribute__((export_name(name), used))

#ifdef WASMHOST_IMPLEMENTATION
#if defined(WASMHOST_LIBC) || !defined(__wasm__)
void *wh_grow(uint32_t size) { return calloc(1, size); }
#else
extern uint8_t __heap_base;
static uint32_t wh_heap_next;

void *wh_grow(uint32_t size) {
    if (!wh_heap_next) wh_heap_next = ((uint32_t)(uintptr_t)&__heap_base + 15) & ~15u;
    uint64_t end = (uint64_t)wh_heap_next + size;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > have && __builtin_wasm_memory_grow(0, (uint32_t)((end - have + 65535) >> 16)) == (size_t)-1) return 0;
    void *p = (void *)(uintptr_t)wh_heap_next;
    wh_heap_next = (uint32_t)((end + 15) & ~(uint64_t)15);
    return p;
}
#endif

#ifdef __wasm__
WH_EXPORT("wasmhost_abi_v1") void wh_export_abi(void) {}

static uint8_t wh_small[4096];
static uint8_t *wh_input = wh_small;
static uint32_t wh_input_cap = sizeof wh_small;

/* One input buffer, made anew when a larger one is asked for. */
WH_EXPORT("wasmhost_alloc") uint8_t *wh_export_alloc(uint32_t size) {
    if (size > wh_input_cap) {
        uint32_t cap = wh_input_cap;
        while (cap < size) cap = cap > 0x40000000u ? size : cap * 2;
        uint8_t *p = (uint8_t *)wh_grow(cap);
        if (!p) return 0;
        wh_input = p;
        wh_input_cap = cap;
    }
    return wh_input;
}

WH_EXPORT("wasmhost_process") int32_t wh_export_process(const uint8_t *data, uint32_t size) { return wh_on_event(data, size); }

#ifdef WASMHOST_INIT
WH_EXPORT("wasmhost_init") int32_t wh_export_init(const uint8_t *config, uint32_t size) { return wh_on_init(config, size); }
#endif

#ifdef WASMHOST_QUERY
WH_EXPORT("wasmhost_query") uint64_t wh_export_query(const uint8_t *data, uint32_t size) {
    const uint8_t *answer = 0;
    uint32_t answer_size = 0;
    if (wh_on_query(data, size, &answer, &answer_size)) return ~0ull;
    return (uint64_t)(uintptr_t)answer << 32 | answer_size;
}
#endif

#ifdef WASMHOST_STATELESS
WH_EXPORT("wasmhost_stateless") void wh_export_stateless(void) {}
#endif

#ifdef WASMHOST_HOOKS
WH_EXPORT("wasmhost_snapshot") uint64_t wh_export_snapshot(void) {
    const uint8_t *state = 0;
    uint32_t size = 0;
    if (wh_on_snapshot(&state, &size)) return ~0ull;
    return (uint64_t)(uintptr_t)state << 32 | size;
}
WH_EXPORT("wasmhost_restore") int32_t wh_export_restore(const uint8_t *state, uint32_t size) { return wh_on_restore(state, size); }
#endif

#ifndef WASMHOST_LIBC
/* The compiler may call these for copies and comparisons of its own. */
void *memcpy(void *dst, const void *src, size_t n) {
    uint8_t *d = (uint8_t *)dst;
    const uint8_t *s = (const uint8_t *)src;
    for (size_t i = 0; i < n; i++) d[i] = s[i];
    return dst;
}
void *memset(void *dst, int c, size_t n) {
    uint8_t *d = (uint8_t *)dst;
    for (size_t i = 0; i < n; i++) d[i] = (uint8_t)c;
    return dst;
}
int memcmp(const void *a, const void *b, size_t n) {
    const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}
#endif
#endif /* __wasm__ */
#endif

#ifdef __cplusplus
}
#endif
#endif
