/* wasmhost_test.h: runs a daemon in C on this machine, under a host that keeps
 * everything in memory. A test is a program of its own:
 *
 *   #include "main.c"
 *   #include "wasmhost_test.h"
 *
 *   static void it_numbers_events(void) {
 *       wht_daemon *d = wht_spawn("");
 *       WHT_SAYS(wht_send(d, "hello"), "1 hello");
 *   }
 *
 *   int main(void) {
 *       WHT_RUN(it_numbers_events);
 *       return wht_end();
 *   }
 *
 *   cc -std=gnu11 -Isdk -o unit.out test.c && ./unit.out
 *
 * Each daemon is a process of its own, so that an event that fails, traps or exits
 * leaves no trace: another process goes on that has the memory from before it. It needs
 * fork: Linux, macOS, the BSDs, WSL. rand and time are the machine's: a daemon that is
 * tested asks wh_random and wh_event_time. wasmhost run --replay runs the module itself.
 */
#ifndef WASMHOST_TEST_H
#define WASMHOST_TEST_H

#include "wasmhost_test_daemon.h"

/* When a daemon is spawned: 2000-01-01 UTC, in Unix nanoseconds. */
#define WHT_BEGIN ((int64_t)946684800 * 1000000000)
#define WHT_SECOND ((int64_t)1000000000)

/* Bytes have a zero after them, and are there until the test ends. */
typedef struct {
    const char *data;
    uint32_t size;
} wht_bytes;

/* What a daemon does to others. Of a published one channel is set, of one that is sent
 * to; of a timer timer, with at when it is set, 0 when it is cancelled. */
typedef struct {
    const char *channel;
    uint8_t to[32];
    int64_t timer, at;
    wht_bytes data;
} wht_effect;

/* What came of one event. Where it failed nothing else came of it. */
typedef struct {
    wht_bytes *outputs;
    size_t outputs_count;
    wht_effect *effects;
    size_t effects_count;
    wht_bytes *logs;
    size_t logs_count;
    int32_t code;      /* 0: it was applied; -1: it trapped or exited */
    const char *error; /* why it failed; 0: it did not */
} wht_answer;

typedef struct {
    wht_answer *answers;
    size_t count;
} wht_answers;

/* A daemon in a test. */
typedef struct wht_daemon {
    /* What wh_publish and wh_send are asked: true is WH_DENIED. 0 denies nothing. */
    bool (*deny_publish)(const char *channel);
    bool (*deny_send)(const uint8_t to[32]);

    int line; /* to its process */
    int64_t now;
    uint64_t applied;
    wht_effect *timers; /* by time, then number */
    size_t timers_count;
    struct wht_daemon *next;
} wht_daemon;

static wht_daemon *wht_daemons;
static int wht_failed, wht_ran, wht_bad;

static inline wht_bytes wht_read_bytes(int line, uint32_t size) {
    char *data = (char *)wht_new((size_t)size + 1);
    if (!wht_read(line, data, size)) wht_stop("the daemon's process is gone");
    wht_bytes b = {data, size};
    return b;
}

/* wht_room makes room for one more in a list of so many. */
static inline void *wht_room(void *list, size_t count, size_t item) {
    if (count & (count - 1)) return list; /* it doubles at each power of two */
    void *more = wht_new((count ? 2 * count : 1) * item);
    if (count) memcpy(more, list, count * item);
    return more;
}

static inline void wht_add_bytes(wht_bytes **list, size_t *count, wht_bytes b) {
    *list = (wht_bytes *)wht_room(*list, *count, sizeof b);
    (*list)[(*count)++] = b;
}

static inline void wht_add_effect(wht_effect **list, size_t *count, wht_effect e) {
    *list = (wht_effect *)wht_room(*list, *count, sizeof e);
    (*list)[(*count)++] = e;
}

/* wht_effect_of takes an effect, unless it is refused, and returns what it is answered. */
static inline int64_t wht_effect_of(wht_daemon *d, const wht_call *c, wht_answer *a, const wht_said *m, const char *name, wht_bytes data) {
    static const uint8_t nobody[32];
    wht_effect e = {0, {0}, 0, 0, data};
    bool bad = false, denied = false, timer = m->what == 't';
    int64_t done = WH_DONE;
    switch (m->what) {
    case 'p':
        e.channel = name;
        bad = m->name_size == 0 || m->name_size > 255;
        denied = !bad && d->deny_publish && d->deny_publish(name);
        break;
    case 's':
        memcpy(e.to, m->id, 32);
        bad = memcmp(m->id, nobody, 32) == 0;
        denied = !bad && d->deny_send && d->deny_send(m->id);
        break;
    case 't':
        e.at = m->number;
        bad = m->number <= 0;
        done = e.timer = (int64_t)(c->sequence << 12 | (a->effects_count + 1));
        break;
    default: e.timer = m->number;
    }
    if (bad) return timer ? -WH_INVALID : WH_INVALID;
    if (data.size > 1u << 20) return timer ? -WH_TOO_LARGE : WH_TOO_LARGE;
    if (denied) return WH_DENIED;
    wht_add_effect(&a->effects, &a->effects_count, e);
    return done;
}

/* wht_ask_daemon has the daemon's process run a call. state gets what a snapshot gives. */
static inline wht_answer wht_ask_daemon(wht_daemon *d, const wht_call *c, const void *data, wht_bytes *state) {
    wht_answer a = {0}, failed = {0};
    wht_said m;
    wht_write(d->line, c, sizeof *c);
    wht_write(d->line, data, c->size);
    for (;;) {
        if (!wht_read(d->line, &m, sizeof m)) wht_stop("the daemon's process is gone");
        const char *name = wht_read_bytes(d->line, m.name_size).data;
        wht_bytes b = wht_read_bytes(d->line, m.size);
        int64_t answer;
        switch (m.what) {
        case 'e': wht_add_bytes(&a.outputs, &a.outputs_count, b); break;
        case 'l': wht_add_bytes(&a.logs, &a.logs_count, b); break;
        case 'f': failed.error = b.data; break;
        case 'o': *state = b; break;
        case 'c': wht_effect_of(d, c, &a, &m, name, b); break;
        case 'D':
            if (m.number == 0) return a;
            failed.code = (int32_t)m.number;
            break; /* and the process that goes on says U */
        case 'U':
            if (!failed.code) failed.code = -1;
            if (!failed.error) failed.error = failed.code == -1 ? "it trapped or exited" : "";
            return failed;
        default:
            answer = wht_effect_of(d, c, &a, &m, name, b);
            wht_write(d->line, &answer, sizeof answer);
        }
    }
}

/* wht_process makes a process that has run nothing of the daemon yet. */
static inline int wht_process(void) {
    int line[2];
    fflush(0);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, line)) wht_stop("no socketpair");
    pid_t pid = fork();
    if (pid < 0) wht_stop("no fork");
    if (pid == 0) {
        close(line[0]);
        for (wht_daemon *d = wht_daemons; d; d = d->next) close(d->line); /* they end with the test */
        wht_line = line[1];
        wht_serve();
    }
    close(line[1]);
    return line[0];
}

/* wht_spawn makes a daemon, by wh_on_init where it has that. Where that fails, the tests
 * end. */
static inline wht_daemon *wht_spawn(const char *config) {
    wht_daemon *d = (wht_daemon *)wht_new(sizeof *d);
    wht_call c = {WHT_INIT, 0, wh_strlen(config), {0}, {0}, WHT_BEGIN, 0};
    d->now = WHT_BEGIN;
    d->line = wht_process();
    d->next = wht_daemons;
    wht_daemons = d;
    wht_answer a = wht_ask_daemon(d, &c, config, 0);
    if (a.error) wht_stop(a.error);
    return d;
}

/* wht_apply has the daemon apply an event. Its timers change where that succeeds. */
static inline wht_answer wht_apply(wht_daemon *d, wht_call *c, const void *data) {
    c->what = WHT_EVENT;
    c->at = d->now;
    c->sequence = d->applied + 1;
    wht_answer a = wht_ask_daemon(d, c, data, 0);
    if (a.error) return a;
    d->applied++;
    for (size_t i = 0; i < a.effects_count; i++) {
        wht_effect e = a.effects[i];
        size_t n = 0;
        if (!e.timer) continue;
        if (e.at) {
            wht_add_effect(&d->timers, &d->timers_count, e);
            for (n = d->timers_count - 1; n && d->timers[n - 1].at > e.at; n--) d->timers[n] = d->timers[n - 1];
            d->timers[n] = e;
            continue;
        }
        for (size_t j = 0; j < d->timers_count; j++)
            if (d->timers[j].timer != e.timer) d->timers[n++] = d->timers[j];
        d->timers_count = n;
    }
    return a;
}

/* wht_send_bytes has the daemon apply an event that was sent to it. */
static inline wht_answer wht_send_bytes(wht_daemon *d, const void *data, uint32_t size) {
    wht_call c = {WHT_EVENT, WH_DIRECT, size, {0}, {0}, 0, 0};
    return wht_apply(d, &c, data);
}
static inline wht_answer wht_send(wht_daemon *d, const char *text) { return wht_send_bytes(d, text, wh_strlen(text)); }

/* wht_from has the daemon apply an event that another daemon sent. */
static inline wht_answer wht_from(wht_daemon *d, const uint8_t sender[32], const char *text) {
    wht_call c = {WHT_EVENT, WH_DAEMON, wh_strlen(text), {0}, {0}, 0, 0};
    memcpy(c.sender, sender, 32);
    return wht_apply(d, &c, text);
}

static inline void wht_name(wht_call *c, const char *channel) {
    if (wh_strlen(channel) > 255) wht_stop("a channel's name has at most 255 bytes");
    strcpy(c->channel, channel);
}

/* wht_channel has the daemon apply an event of a channel. A publisher of 0 is the owner
 * of the channel's node. */
static inline wht_answer wht_channel(wht_daemon *d, const char *channel, const uint8_t *publisher, const char *text) {
    wht_call c = {WHT_EVENT, WH_CHANNEL, wh_strlen(text), {0}, {0}, 0, 0};
    if (publisher) memcpy(c.sender, publisher, 32);
    wht_name(&c, channel);
    return wht_apply(d, &c, text);
}

/* wht_gap has the daemon apply a gap in a channel: first and last are lost. */
static inline wht_answer wht_gap(wht_daemon *d, const char *channel, uint64_t first, uint64_t last) {
    wht_call c = {WHT_EVENT, WH_GAP, 16, {0}, {0}, 0, 0};
    uint8_t data[16];
    for (int i = 0; i < 8; i++) data[i] = (uint8_t)(first >> 8 * i), data[8 + i] = (uint8_t)(last >> 8 * i);
    wht_name(&c, channel);
    return wht_apply(d, &c, data);
}

/* wht_advance lets nanoseconds pass, and returns what came of each timer that was due, in
 * order. */
static inline wht_answers wht_advance(wht_daemon *d, int64_t ns) {
    wht_answers all = {0};
    int64_t until = d->now + ns;
    while (d->timers_count && d->timers[0].at <= until) {
        wht_effect due = d->timers[0];
        wht_call c = {WHT_EVENT, WH_TIMER, due.data.size, {0}, {0}, 0, 0};
        memmove(d->timers, d->timers + 1, --d->timers_count * sizeof due);
        memcpy(c.sender, wht_self, 32);
        if (due.at > d->now) d->now = due.at;
        all.answers = (wht_answer *)wht_room(all.answers, all.count, sizeof(wht_answer));
        all.answers[all.count++] = wht_apply(d, &c, due.data.data);
    }
    d->now = until;
    return all;
}

/* The daemon's time, and how many timers are set. */
static inline int64_t wht_now(const wht_daemon *d) { return d->now; }
static inline size_t wht_timers(const wht_daemon *d) { return d->timers_count; }

/* wht_upgrade carries the state to a new process, by wh_on_snapshot and wh_on_restore, as
 * wasmhost upgrade does to other code. Where that fails, the old one goes on. */
static inline wht_answer wht_upgrade(wht_daemon *d) {
    wht_call c = {WHT_SNAPSHOT, 0, 0, {0}, {0}, d->now, d->applied};
    wht_bytes state = {0, 0};
    wht_answer a = wht_ask_daemon(d, &c, 0, &state);
    if (a.error) return a;
    int old = d->line;
    d->line = wht_process();
    c.what = WHT_RESTORE;
    c.size = state.size;
    a = wht_ask_daemon(d, &c, state.data, 0);
    int gone = a.error ? d->line : old;
    if (a.error) d->line = old;
    close(gone);
    return a;
}

static inline void wht_check(bool good, const char *file, int line, const char *what) {
    if (good) return;
    wht_failed++;
    fprintf(stderr, "%s:%d: %s: not so: %s\n", file, line, wht_test, what);
}

/* wht_says compares outputs with texts, of which 0 is the end. */
static inline void wht_says(wht_answer a, const char *const *want, const char *file, int line) {
    size_t n = 0;
    bool same = !a.error;
    while (want[n]) n++;
    same = same && n == a.outputs_count;
    for (size_t i = 0; same && i < n; i++) same = a.outputs[i].size == wh_strlen(want[i]) && memcmp(a.outputs[i].data, want[i], a.outputs[i].size) == 0;
    if (same) return;
    wht_failed++;
    fprintf(stderr, "%s:%d: %s: it answers", file, line, wht_test);
    for (size_t i = 0; i < a.outputs_count; i++) fprintf(stderr, " \"%s\"", a.outputs[i].data);
    if (a.error) fprintf(stderr, " with failure %d, %s", a.code, a.error);
    fprintf(stderr, "; want");
    for (size_t i = 0; i < n; i++) fprintf(stderr, " \"%s\"", want[i]);
    fputc('\n', stderr);
}

/* WHT_CHECK says what does not hold, WHT_SAYS what is not answered: both let the test go
 * on. WHT_FAILS wants the code of a failure. */
#define WHT_CHECK(x) wht_check((x), __FILE__, __LINE__, #x)
#define WHT_SAYS(answer, ...) wht_says((answer), (const char *const[]){__VA_ARGS__, 0}, __FILE__, __LINE__)
#define WHT_FAILS(answer, want) wht_check((answer).code == (want), __FILE__, __LINE__, #answer " fails with " #want)

/* WHT_RUN runs a test, a function without parameters. */
#define WHT_RUN(test) wht_run(#test, test)
static inline void wht_run(const char *name, void (*test)(void)) {
    int before = wht_failed;
    wht_test = name;
    wht_ran++;
    test();
    wht_bad += wht_failed > before;
    while (wht_daemons) { /* each process ends when its line does */
        close(wht_daemons->line);
        wht_daemons = wht_daemons->next;
    }
    while (wht_blocks) {
        struct wht_block *b = wht_blocks;
        wht_blocks = b->next;
        free(b);
    }
}

/* wht_end says how many tests passed, and returns what main does. */
static inline int wht_end(void) {
    printf("%d tests, %d failed\n", wht_ran, wht_bad);
    return wht_bad || !wht_ran;
}
#endif
