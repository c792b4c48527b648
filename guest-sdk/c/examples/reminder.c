/* reminder keeps what it is to say later: an event "90s tea" (or m, h, d) sets a timer,
 * and emits its number; "cancel NUMBER" takes it back. When the time has come it emits
 * the text, and publishes it on the channel reminders where it may; what another daemon
 * asked for is sent back to it. All of this outlives crashes and moves. */
#define WASMHOST_IMPLEMENTATION
#include "text.h"

static void say_number(uint64_t n) {
    char digits[20];
    uint32_t at = sizeof digits;
    do digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    wh_emit(digits + at, sizeof digits - at);
}

/* A timer's event begins with the 32 bytes of who asked for it, zeros for nobody. */
static uint8_t note[32 + 4096];

static int32_t due(const uint8_t *data, uint32_t size) {
    static const uint8_t nobody[32];
    wh_emit(data + 32, size - 32);
    wh_publish("reminders", data + 32, size - 32); /* where it may */
    if (memcmp(data, nobody, 32) != 0) wh_send(data, data + 32, size - 32);
    return 0;
}

static int32_t cancel(const uint8_t *data, uint32_t size) {
    uint64_t timer = 0;
    if (!number((text){data, size}, 1ull << 62, &timer)) return wh_fail(2, "cancel NUMBER");
    wh_timer_cancel((int64_t)timer);
    return 0;
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    if (wh_event_kind() == WH_TIMER) return due(data, size);
    if (size > 7 && memcmp(data, "cancel ", 7) == 0) return cancel(data + 7, size - 7);
    uint64_t count = 0, unit = 0;
    uint32_t at = 0;
    while (at < size && data[at] >= '0' && data[at] <= '9') at++;
    if (at < size) unit = data[at] == 's' ? 1 : data[at] == 'm' ? 60 : data[at] == 'h' ? 3600 : data[at] == 'd' ? 86400 : 0;
    if (!number((text){data, at}, 100000, &count) || !unit || at + 1 >= size || data[at + 1] != ' ') return wh_fail(2, "an event is DELAY TEXT, as in 90s tea, or cancel NUMBER");
    const uint8_t *said = data + at + 2;
    size -= at + 2;
    if (size > sizeof note - 32) return wh_fail(2, "the text has at most 4096 bytes");
    memset(note, 0, 32);
    if (wh_event_kind() == WH_DAEMON) wh_event_sender(note);
    memcpy(note + 32, said, size);
    int64_t timer = wh_timer_after((int64_t)(count * unit * 1000000000u), note, 32 + size);
    if (timer < 0) return wh_fail(1, "the timer is refused");
    say_number((uint64_t)timer);
    return 0;
}
