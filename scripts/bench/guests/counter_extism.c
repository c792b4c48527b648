/* What guest-sdk/c/examples/counter.c does with an event, written for Extism's
 * plug-in interface: reads its input, counts, puts out the count as text. */
#include <stdint.h>

#define IMPORT(n) __attribute__((import_module("extism:host/env"), import_name(n)))
IMPORT("input_length") uint64_t input_length(void);
IMPORT("input_load_u64") uint64_t input_load_u64(uint64_t);
IMPORT("alloc") uint64_t alloc(uint64_t);
IMPORT("store_u8") void store_u8(uint64_t, uint32_t);
IMPORT("output_set") void output_set(uint64_t, uint64_t);

static uint64_t count;
static volatile uint64_t input[512];

__attribute__((export_name("count"))) int32_t count_event(void) {
    uint64_t n = input_length();
    for (uint64_t i = 0; i + 8 <= n && i < sizeof input; i += 8) input[i / 8] = input_load_u64(i);
    count++;
    char text[20];
    uint32_t at = sizeof text;
    for (uint64_t k = count; k || at == sizeof text; k /= 10) text[--at] = (char)('0' + k % 10);
    uint64_t out = alloc(sizeof text - at);
    for (uint32_t i = at; i < sizeof text; i++) store_u8(out + i - at, (uint32_t)text[i]);
    output_set(out, sizeof text - at);
    return 0;
}
