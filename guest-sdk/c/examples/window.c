/* window watches a sensor: each event is "TIME VALUE", a time in milliseconds and
 * a whole number. It answers with what the last 60 seconds say, up to this event:
 *
 *   n=COUNT rate=MILLIHERTZ min=V p50=V p90=V p99=V max=V
 *
 * A percentile is the value of the nearest rank. Configuration is the length of
 * the window in seconds, 1 to 3600. At most 4096 values are in it.
 *
 * Failures: 2 not a measurement (or configuration), 5 out of order, 6 too many. */
#define WASMHOST_IMPLEMENTATION
#define WASMHOST_INIT
#include "text.h"

enum { MOST = 4096 };
static uint64_t seconds = 60;
static uint64_t times[MOST]; /* a ring, oldest first, from first */
static int64_t values[MOST];
static int64_t sorted[MOST]; /* the same values, rising */
static uint32_t first, used;

int32_t wh_on_init(const uint8_t *config, uint32_t size) {
    uint64_t n;
    if (size == 0) return 0;
    if (!number((text){config, size}, 3600, &n) || n == 0) return wh_fail(2, "configuration is a number of seconds, 1 to 3600");
    seconds = n;
    return 0;
}

static uint32_t place(int64_t value) {
    uint32_t lo = 0, hi = used;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (sorted[mid] < value) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static void drop_oldest(void) {
    uint32_t at = place(values[first]);
    used--;
    for (uint32_t i = at; i < used; i++) sorted[i] = sorted[i + 1];
    first = (first + 1) % MOST;
}

static void add(uint64_t time, int64_t value) {
    uint32_t at = place(value), slot = (first + used) % MOST;
    for (uint32_t i = used; i > at; i--) sorted[i] = sorted[i - 1];
    sorted[at] = value;
    times[slot] = time;
    values[slot] = value;
    used++;
}

static void put_rank(const char *name, uint32_t percent) {
    put_text(name);
    put_number(sorted[percent ? (used * percent + 99) / 100 - 1 : 0]);
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    text line = {data, size}, when = word(&line);
    uint64_t time, value;
    bool negative = line.size > 0 && line.at[0] == '-';
    if (negative) line.at++, line.size--;
    if (!number(when, 1000000000000000, &time) || !number(line, 1000000000000000, &value)) return wh_fail(2, "not a measurement");
    if (used && time < times[(first + used - 1) % MOST]) return wh_fail(5, "out of order");
    while (used && times[first] + seconds * 1000 <= time) drop_oldest();
    if (used == MOST) return wh_fail(6, "too many values in the window");
    add(time, negative ? -(int64_t)value : (int64_t)value);
    begin();
    put_text("n=");
    put_number(used);
    put_text(" rate=");
    put_number((int64_t)(used * (uint64_t)1000 / seconds));
    put_rank(" min=", 0);
    put_rank(" p50=", 50);
    put_rank(" p90=", 90);
    put_rank(" p99=", 99);
    put_rank(" max=", 100);
    end();
    return 0;
}
