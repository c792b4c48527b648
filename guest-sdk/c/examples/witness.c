/* witness answers each event with one line of all that a guest knows of it:
 *
 *   VERSION DAEMON COUNT KIND SENDER CHANNEL TIME TEXT
 *
 * DAEMON and SENDER are entity ids, SENDER zeros for nobody; COUNT is how many events it
 * has applied, which its hooks carry; CHANNEL is - for none; TIME is in Unix nanoseconds.
 * Version 1 fails on texts that begin with "bad": later versions take them. Whoever needs
 * another version changes the digit behind "witness version " in the module.
 *
 *   timer MILLISECONDS TEXT   also sets a timer
 *   send ENTITY TEXT          also sends the text to that daemon
 *   pub CHANNEL TEXT          also publishes the text there */
#define WASMHOST_IMPLEMENTATION
#define WASMHOST_HOOKS
#include "text.h"

static volatile char version[] = "witness version 1";
static uint64_t count;
static uint8_t state[8];

static void put_id(const uint8_t id[32]) {
    static const char hex[] = "0123456789abcdef";
    uint8_t pair[2];
    for (int i = 0; i < 32; i++) {
        pair[0] = (uint8_t)hex[id[i] >> 4];
        pair[1] = (uint8_t)hex[id[i] & 15];
        put((text){pair, 2});
    }
}
static int digit(uint8_t c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }
static bool parse_id(text t, uint8_t id[32]) {
    if (t.size != 64) return false;
    for (int i = 0; i < 32; i++) {
        int high = digit(t.at[2 * i]), low = digit(t.at[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        id[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static void say(text said) {
    static const char *const kinds[] = {"direct", "channel", "gap", "timer", "daemon"};
    uint8_t id[32];
    char channel[256];
    uint32_t kind = wh_event_kind(), size = wh_event_channel(channel, sizeof channel);
    begin();
    put_number(version[sizeof version - 2] - '0');
    put_text(" ");
    wh_daemon_id(id);
    put_id(id);
    put_text(" ");
    put_number((int64_t)count);
    put_text(" ");
    put_text(kind < 5 ? kinds[kind] : "other");
    put_text(" ");
    wh_event_sender(id);
    put_id(id);
    put_text(" ");
    if (size && size <= sizeof channel) put((text){(uint8_t *)channel, size});
    else put_text("-");
    put_text(" ");
    put_number(wh_event_time());
    put_text(" ");
    if (kind == WH_GAP) put_text("gap");
    else put(said);
    end();
}

/* act does what a direct event or another daemon's asks for beside the answer. */
static int32_t act(text line) {
    text command = word(&line);
    uint8_t id[32];
    uint64_t ms = 0;
    int64_t done = 0;
    if (is(command, "timer")) {
        text delay = word(&line);
        if (!number(delay, 1ull << 40, &ms)) return wh_fail(2, "timer MILLISECONDS TEXT");
        done = wh_timer_after((int64_t)(ms * 1000000u), line.at, line.size);
    } else if (is(command, "send")) {
        if (!parse_id(word(&line), id)) return wh_fail(2, "send ENTITY TEXT");
        done = -wh_send(id, line.at, line.size);
    } else if (is(command, "pub")) {
        text channel = word(&line);
        done = -wh_publish_bytes((const char *)channel.at, channel.size, line.at, line.size);
    }
    return done < 0 ? wh_fail((int32_t)-done, "it may not, or cannot") : 0;
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    text said = {data, size};
    uint32_t kind = wh_event_kind();
    if (version[sizeof version - 2] == '1' && kind != WH_GAP && size >= 3 && memcmp(data, "bad", 3) == 0) return wh_fail(7, "version 1 fails on it");
    count++;
    if (kind == WH_DIRECT || kind == WH_DAEMON) {
        int32_t failed = act(said);
        if (failed) return failed;
    }
    say(said);
    return 0;
}

int32_t wh_on_snapshot(const uint8_t **out, uint32_t *size) {
    for (int i = 0; i < 8; i++) state[i] = (uint8_t)(count >> 8 * i);
    *out = state;
    *size = sizeof state;
    return 0;
}

int32_t wh_on_restore(const uint8_t *data, uint32_t size) {
    if (size != 8) return wh_fail(3, "the state has 8 bytes");
    count = 0;
    for (int i = 0; i < 8; i++) count |= (uint64_t)data[i] << 8 * i;
    return 0;
}
