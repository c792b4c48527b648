/* tally is an Extism plug-in. It knows nothing of wasmhost: it is run as a daemon
 * by wasmhost kind push --abi extism. Its function tally counts its calls in
 * memory, remembers each input in the variable "last", and returns
 *
 *   COUNT GREETING LAST INPUT
 *
 * where GREETING is of the configuration. Inputs that make it misbehave: "fail"
 * returns an error, "http" asks for what a daemon cannot have, "vars" keeps more
 * and more variables, "wild" reads outside its blocks. */
#include <stddef.h>
#include <stdint.h>

#define HOST(name) __attribute__((import_module("extism:host/env"), import_name(#name)))
HOST(alloc) uint64_t host_alloc(uint64_t);
HOST(free) void host_free(uint64_t);
HOST(length) uint64_t host_length(uint64_t);
HOST(load_u8) uint32_t host_load_u8(uint64_t);
HOST(load_u64) uint64_t host_load_u64(uint64_t);
HOST(store_u8) void host_store_u8(uint64_t, uint32_t);
HOST(input_length) uint64_t host_input_length(void);
HOST(input_load_u8) uint32_t host_input_load_u8(uint64_t);
HOST(output_set) void host_output_set(uint64_t, uint64_t);
HOST(error_set) void host_error_set(uint64_t);
HOST(config_get) uint64_t host_config_get(uint64_t);
HOST(var_get) uint64_t host_var_get(uint64_t);
HOST(var_set) void host_var_set(uint64_t, uint64_t);
HOST(log_info) void host_log_info(uint64_t);
HOST(http_request) uint64_t host_http_request(uint64_t, uint64_t);

static uint64_t count;
static uint8_t input[1024], out[4096];
static uint32_t used;

static uint64_t block(const void *data, uint32_t size) {
    uint64_t off = host_alloc(size);
    for (uint32_t i = 0; i < size; i++) host_store_u8(off + i, ((const uint8_t *)data)[i]);
    return off;
}

static void put(const uint8_t *data, uint32_t size) {
    for (uint32_t i = 0; i < size && used < sizeof out; i++) out[used++] = data[i];
}
static void put_block(uint64_t off) {
    for (uint64_t i = 0, n = off ? host_length(off) : 0; i < n && used < sizeof out; i++) out[used++] = (uint8_t)host_load_u8(off + i);
}
static void put_number(uint64_t n) {
    uint8_t digits[20];
    uint32_t at = sizeof digits;
    do digits[--at] = (uint8_t)('0' + n % 10);
    while (n /= 10);
    put(digits + at, sizeof digits - at);
}

static int is(uint64_t size, const char *s) {
    uint64_t i = 0;
    for (; s[i]; i++)
        if (i >= size || input[i] != (uint8_t)s[i]) return 0;
    return i == size;
}

__attribute__((export_name("tally"))) int32_t tally(void) {
    uint64_t size = host_input_length(), last_name = block("last", 4);
    if (size > sizeof input) size = sizeof input;
    for (uint64_t i = 0; i < size; i++) input[i] = (uint8_t)host_input_load_u8(i);
    count++;
    used = 0;
    if (is(size, "fail")) {
        host_var_set(last_name, block("lost", 4));
        host_error_set(block("asked to fail", 13));
        return 7;
    }
    if (is(size, "http")) return (int32_t)host_http_request(last_name, 0);
    if (is(size, "wild")) return (int32_t)host_load_u64(1 << 30);
    if (is(size, "vars"))
        for (uint64_t i = 0;; i++) host_var_set(block(&i, 8), block(input, sizeof input));
    put_number(count);
    put((const uint8_t *)" ", 1);
    put_block(host_config_get(block("greeting", 8)));
    put((const uint8_t *)" ", 1);
    put_block(host_var_get(last_name));
    put((const uint8_t *)" ", 1);
    put(input, (uint32_t)size);
    host_log_info(last_name);
    host_var_set(last_name, size ? block(input, (uint32_t)size) : 0);
    host_output_set(block(out, used), used);
    return 0;
}

void *memcpy(void *dst, const void *src, size_t n) {
    uint8_t *d = dst;
    const uint8_t *s = src;
    while (n--) *d++ = *s++;
    return dst;
}
