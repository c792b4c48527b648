/* orderbook matches orders of one instrument by price, then by time.
 *
 *   buy ID PRICE QUANTITY    emits "trade MAKER TAKER PRICE QUANTITY" for each
 *   sell ID PRICE QUANTITY   match, at the maker's price, and then "filled ID" or
 *                            "open ID QUANTITY"
 *   cancel ID                emits "cancelled ID QUANTITY"
 *   book                     emits "ask PRICE QUANTITY", then "bid PRICE QUANTITY",
 *                            the best ten prices of each, best first; or "empty"
 *
 * An ID is 1 to 16 bytes without a space; price and quantity are 1 to 10^9.
 * At most 1024 orders are open on each side.
 *
 * Failures: 2 not a command, 4 no such order, 5 an order of that ID is open,
 * 6 the side is full. */
#define WASMHOST_IMPLEMENTATION
#include "text.h"

typedef struct {
    uint8_t id[16];
    uint32_t id_size;
    uint64_t price, quantity;
} order;

enum { MOST = 1024, BUY = 0, SELL = 1 };
static order side[2][MOST]; /* best first, and of one price oldest first */
static uint32_t used[2];

static text id_of(const order *o) { return (text){o->id, o->id_size}; }

static bool find(text id, int *s, uint32_t *at) {
    for (*s = 0; *s < 2; (*s)++)
        for (*at = 0; *at < used[*s]; (*at)++)
            if (compare(id_of(&side[*s][*at]), id) == 0) return true;
    return false;
}

static void take_out(int s, uint32_t at) {
    used[s]--;
    for (uint32_t i = at; i < used[s]; i++) side[s][i] = side[s][i + 1];
}

static void say(const char *what, text id, text other, uint64_t price, uint64_t quantity) {
    begin();
    put_text(what);
    if (id.size) put_text(" "), put(id);
    if (other.size) put_text(" "), put(other);
    if (price) put_text(" "), put_number((int64_t)price);
    if (quantity) put_text(" "), put_number((int64_t)quantity);
    end();
}

static const text none = {0, 0};

/* crosses reports whether a maker's price is at least as good as limit to a taker. */
static bool crosses(int s, uint64_t maker, uint64_t limit) { return s == BUY ? maker <= limit : maker >= limit; }

static int32_t trade(int s, text id, uint64_t price, uint64_t quantity) {
    int other = 1 - s;
    while (quantity && used[other] && crosses(s, side[other][0].price, price)) {
        order *maker = &side[other][0];
        uint64_t n = quantity < maker->quantity ? quantity : maker->quantity;
        say("trade", id_of(maker), id, maker->price, n);
        quantity -= n;
        maker->quantity -= n;
        if (!maker->quantity) take_out(other, 0);
    }
    if (!quantity) {
        say("filled", id, none, 0, 0);
        return 0;
    }
    if (used[s] == MOST) return wh_fail(6, "the side is full");
    uint32_t at = used[s]++;
    for (; at > 0 && (s == BUY ? side[s][at - 1].price < price : side[s][at - 1].price > price); at--) side[s][at] = side[s][at - 1];
    order *o = &side[s][at];
    memcpy(o->id, id.at, id.size);
    o->id_size = id.size;
    o->price = price;
    o->quantity = quantity;
    say("open", id, none, 0, quantity);
    return 0;
}

static void levels(int s, const char *name) {
    uint32_t shown = 0;
    for (uint32_t i = 0; i < used[s] && shown < 10; shown++) {
        uint64_t price = side[s][i].price, sum = 0;
        for (; i < used[s] && side[s][i].price == price; i++) sum += side[s][i].quantity;
        say(name, none, none, price, sum);
    }
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    text line = {data, size}, command = word(&line);
    if (is(command, "book") && line.size == 0) {
        levels(SELL, "ask");
        levels(BUY, "bid");
        if (!used[BUY] && !used[SELL]) wh_emit_text("empty");
        return 0;
    }
    text id = word(&line);
    int s;
    uint32_t at;
    if (id.size < 1 || id.size > 16) return wh_fail(2, "not a command");
    if (is(command, "cancel") && line.size == 0) {
        if (!find(id, &s, &at)) return wh_fail(4, "no such order");
        say("cancelled", id, none, 0, side[s][at].quantity);
        take_out(s, at);
        return 0;
    }
    uint64_t price, quantity;
    text price_text = word(&line);
    bool buy = is(command, "buy");
    if ((!buy && !is(command, "sell")) || !number(price_text, 1000000000, &price) || !number(line, 1000000000, &quantity) || !price || !quantity)
        return wh_fail(2, "not a command");
    if (find(id, &s, &at)) return wh_fail(5, "an order of that ID is open");
    return trade(buy ? BUY : SELL, id, price, quantity);
}
