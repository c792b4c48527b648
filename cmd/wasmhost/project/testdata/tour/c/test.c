/* Tests of the tour: everything that the SDK's host for tests has. */
#include "main.c"
#include "wasmhost_test.h"

static const uint8_t other[32] = {[31] = 0xff};

static bool everything(const char *channel) { return channel[0] != 0; }
static bool others(const uint8_t to[32]) { return memcmp(to, wht_self, 32) != 0; }

static void a_failure_leaves_no_trace(void) {
    wht_daemon *d = wht_spawn("tour");
    wht_answer a = wht_send(d, "fail");
    WHT_FAILS(a, 7);
    WHT_CHECK(strcmp(a.error, "told to") == 0 && a.logs_count == 0);
    a = wht_send(d, "panic");
    WHT_FAILS(a, -1);
    WHT_CHECK(strcmp(a.error, "told to") == 0);
    WHT_SAYS(wht_send(d, "x"), "10-");
    WHT_CHECK(!wht_upgrade(d).error);
    WHT_SAYS(wht_send(d, "x"), "20-");
}

static void effects_are_values(void) {
    wht_daemon *d = wht_spawn("tour");
    wht_answer a = wht_send(d, "all");
    WHT_SAYS(a, "all", "10-");
    WHT_CHECK(a.logs_count == 1 && strcmp(a.logs[0].data, "an event") == 0);
    if (a.effects_count != 5) {
        WHT_CHECK(a.effects_count == 5);
        return;
    }
    WHT_CHECK(strcmp(a.effects[0].channel, "news") == 0 && strcmp(a.effects[0].data.data, "p") == 0);
    WHT_CHECK(memcmp(a.effects[1].to, wht_self, 32) == 0 && strcmp(a.effects[1].data.data, "s") == 0);
    WHT_CHECK(a.effects[2].timer && a.effects[2].at == WHT_BEGIN + WHT_SECOND);
    WHT_CHECK(a.effects[4].timer == a.effects[3].timer && a.effects[4].at == 0);
}

static void grants_are_refused(void) {
    wht_daemon *d = wht_spawn("tour");
    d->deny_publish = everything;
    WHT_CHECK(strstr(wht_send(d, "all").error, "wh_publish") != 0);
    d->deny_publish = 0;
    d->deny_send = others;
    WHT_CHECK(wht_from(d, other, "x").code == -1);
    d->deny_send = 0;
    WHT_SAYS(wht_from(d, other, "x"), "14+");
}

static void senders_and_channels(void) {
    wht_daemon *d = wht_spawn("tour");
    wht_answer a = wht_from(d, other, "x");
    WHT_SAYS(a, "14+");
    WHT_CHECK(a.effects_count == 1 && memcmp(a.effects[0].to, other, 32) == 0);
    WHT_SAYS(wht_channel(d, "news", 0, "x"), "21-news");
    WHT_SAYS(wht_channel(d, "news", other, "x"), "31+news");
    WHT_SAYS(wht_gap(d, "news", 1, 2), "42-news");
}

static void timers_fire_in_time(void) {
    wht_daemon *d = wht_spawn("tour");
    wht_send(d, "all"); /* sets two, and cancels one */
    WHT_CHECK(wht_timers(d) == 1);
    WHT_CHECK(wht_advance(d, WHT_SECOND - 1).count == 0);
    wht_answers rang = wht_advance(d, 1);
    WHT_CHECK(rang.count == 1 && wht_now(d) == WHT_BEGIN + WHT_SECOND);
    if (rang.count == 1) WHT_SAYS(rang.answers[0], "23+");
    WHT_CHECK(wht_advance(d, 3600 * WHT_SECOND).count == 0);
}

int main(void) {
    WHT_RUN(a_failure_leaves_no_trace);
    WHT_RUN(effects_are_values);
    WHT_RUN(grants_are_refused);
    WHT_RUN(senders_and_channels);
    WHT_RUN(timers_fire_in_time);
    return wht_end();
}
