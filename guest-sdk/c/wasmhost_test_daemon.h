/* wasmhost_test_daemon.h: the process of a daemon that wasmhost_test.h runs, which
 * includes it. It has what the host offers, and asks the test's process for it.
 */
#ifndef WASMHOST_TEST_DAEMON_H
#define WASMHOST_TEST_DAEMON_H

#ifndef WASMHOST_IMPLEMENTATION
#error "include the daemon's source, with WASMHOST_IMPLEMENTATION, before wasmhost_test.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The identity of each daemon. */
static const uint8_t wht_self[32] = {0x4e, 0x0d, 0xb1, 0x95, 0x18, 0x29, 0xda, 0x71, 0x21, 0xc1, 0xa3, 0xf8, 0xbd, 0xc0, 0xa3, 0x5c,
                                     0xd0, 0xfe, 0x0c, 0x7e, 0xa9, 0x20, 0xac, 0xd7, 0x18, 0x39, 0x2e, 0x54, 0x6e, 0x8c, 0x51, 0x7b};

/* A call, as the daemon's process gets it, with size bytes behind it. */
typedef struct {
    enum { WHT_INIT, WHT_EVENT, WHT_SNAPSHOT, WHT_RESTORE } what;
    uint32_t kind, size;
    uint8_t sender[32];
    char channel[256];
    int64_t at;
    uint64_t sequence;
} wht_call;

/* What the daemon's process says, with name_size and size bytes behind it. */
typedef struct {
    char what; /* emit, log, fail, publish, Send, timer, cancel, output of a snapshot; Done, Undone */
    int64_t number;
    uint8_t id[32];
    uint32_t name_size, size;
} wht_said;

static const char *wht_test; /* that runs */
static int wht_line = -1; /* in the daemon's process */
static wht_call wht_current;
static uint64_t wht_stream;

static inline void wht_stop(const char *why) {
    fprintf(stderr, "%s: %s\n", wht_test ? wht_test : "wasmhost_test", why);
    _exit(2);
}

/* wht_new makes memory that is there until the test ends. */
static struct wht_block { struct wht_block *next, *unused; } *wht_blocks;
static inline void *wht_new(size_t size) {
    struct wht_block *b = (struct wht_block *)calloc(1, sizeof *b + size);
    if (!b) wht_stop("out of memory");
    b->next = wht_blocks;
    wht_blocks = b;
    return b + 1;
}

static inline bool wht_read(int line, void *to, size_t size) {
    for (size_t n = 0; n < size;) {
        ssize_t got = read(line, (char *)to + n, size - n);
        if (got <= 0) return false;
        n += (size_t)got;
    }
    return true;
}

static inline void wht_write(int line, const void *from, size_t size) {
    for (size_t n = 0; n < size;) {
        ssize_t put = write(line, (const char *)from + n, size - n);
        if (put <= 0) wht_stop("the daemon's process and the test cannot talk");
        n += (size_t)put;
    }
}

/* In the daemon's process: what the host offers. */

static inline void wht_say(char what, int64_t number, const uint8_t *id, const char *name, uint32_t name_size, const void *data, uint32_t size) {
    wht_said m = {what, number, {0}, name_size, size};
    if (wht_line < 0) wht_stop("there is no host: a daemon's functions run by wht_send and the like");
    if (id) memcpy(m.id, id, 32);
    wht_write(wht_line, &m, sizeof m);
    wht_write(wht_line, name, name_size);
    wht_write(wht_line, data, size);
}

static inline int64_t wht_ask(char what, int64_t number, const uint8_t *id, const char *name, uint32_t name_size, const void *data, uint32_t size) {
    int64_t answer;
    wht_say(what, number, id, name, name_size, data, size);
    if (!wht_read(wht_line, &answer, sizeof answer)) _exit(0);
    return answer;
}

void wh_emit(const void *data, uint32_t size) { wht_say('e', 0, 0, 0, 0, data, size); }
void wh_fail_bytes(const char *text, uint32_t size) { wht_say('f', 0, 0, 0, 0, text, size); }
void wh_log_bytes(int32_t level, const char *text, uint32_t size) { wht_say('l', level, 0, 0, 0, text, size); }
uint64_t wh_event_sequence(void) { return wht_current.sequence; }
int64_t wh_event_time(void) { return wht_current.at; }
int64_t wh_now(void) { return wht_current.at; }
uint32_t wh_event_kind(void) { return wht_current.kind; }
void wh_event_sender(uint8_t id[32]) { memcpy(id, wht_current.sender, 32); }
void wh_daemon_id(uint8_t id[32]) { memcpy(id, wht_self, 32); }

uint64_t wh_event_origin(void) {
    uint64_t hash = 0, all = 0;
    for (int i = 0; i < 32; i++) all |= wht_current.sender[i];
    for (int i = 0; i < 8; i++) hash |= (uint64_t)wht_current.sender[i] << 8 * i;
    return all ? hash | 1 : 0;
}

uint32_t wh_event_channel(char *name, uint32_t cap) {
    uint32_t size = wh_strlen(wht_current.channel);
    memcpy(name, wht_current.channel, size < cap ? size : cap);
    return size;
}

/* A stream that follows from the event's number (splitmix64). */
void wh_random(void *out, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        uint64_t z = wht_stream += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        ((uint8_t *)out)[i] = (uint8_t)(z ^ z >> 31);
    }
}

int32_t wh_publish_bytes(const char *channel, uint32_t channel_size, const void *data, uint32_t size) {
    return (int32_t)wht_ask('p', 0, 0, channel, channel_size, data, size);
}
int32_t wh_send(const uint8_t id[32], const void *data, uint32_t size) { return (int32_t)wht_ask('s', 0, id, 0, 0, data, size); }
int64_t wh_timer(int64_t at, const void *data, uint32_t size) { return wht_ask('t', at, 0, 0, 0, data, size); }
void wh_timer_cancel(int64_t timer) { wht_say('c', timer, 0, 0, 0, 0, 0); }

/* wht_carry_out runs a call, and returns its code. */
static inline int32_t wht_carry_out(const uint8_t *data) {
    wht_stream = wht_current.sequence;
    switch (wht_current.what) {
    case WHT_EVENT: return wh_on_event(data, wht_current.size);
    case WHT_INIT:
#ifdef WASMHOST_INIT
        return wh_on_init(data, wht_current.size);
#else
        return wht_current.size ? wh_fail(2, "the daemon takes no configuration: WASMHOST_INIT is not defined") : 0;
#endif
#ifdef WASMHOST_HOOKS
    case WHT_SNAPSHOT: {
        const uint8_t *state = 0;
        uint32_t size = 0;
        int32_t code = wh_on_snapshot(&state, &size);
        if (!code) wht_say('o', 0, 0, 0, 0, state, size);
        return code;
    }
    case WHT_RESTORE: return wh_on_restore(data, wht_current.size);
#endif
    default: return wh_fail(3, "the daemon has no hooks: WASMHOST_HOOKS is not defined");
    }
}

/* wht_serve runs calls until the test ends. Before each the process forks: the new one
 * waits, and goes on where this one ends without having said that the call succeeded. */
static inline void wht_serve(void) {
    while (wht_read(wht_line, &wht_current, sizeof wht_current)) {
        int verdict[2];
        char good = 'g';
        uint8_t *data = (uint8_t *)malloc(wht_current.size + 1u);
        if (!data || !wht_read(wht_line, data, wht_current.size) || pipe(verdict)) _exit(2);
        fflush(0);
        pid_t spare = fork();
        if (spare < 0) _exit(2);
        if (spare == 0) {
            close(verdict[1]);
            if (read(verdict[0], &good, 1) == 1) _exit(0);
            close(verdict[0]);
            free(data);
            wht_say('U', 0, 0, 0, 0, 0, 0);
            continue;
        }
        close(verdict[0]);
        int32_t code = wht_carry_out(data);
        fflush(0);
        if (code) {
            wht_say('D', code, 0, 0, 0, 0, 0);
            _exit(0);
        }
        wht_write(verdict[1], &good, 1);
        close(verdict[1]);
        waitpid(spare, 0, 0);
        free(data);
        wht_say('D', 0, 0, 0, 0, 0, 0);
    }
    _exit(0);
}

#endif
