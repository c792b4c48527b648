/* upper is a WASI program without a libc. It knows nothing of wasmhost: it is run
 * as a daemon by wasmhost kind push --abi wasi-command. It writes its standard input
 * in upper case, after its arguments; "fail" makes it exit with 3, "crash" trap. It
 * counts its runs, and says so where it is not the first: each is fresh. */
#include <stddef.h>
#include <stdint.h>

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))
typedef struct {
    void *at;
    uint32_t size;
} piece;
WASI(fd_read) uint32_t fd_read(uint32_t fd, piece *to, uint32_t pieces, uint32_t *read);
WASI(fd_write) uint32_t fd_write(uint32_t fd, const piece *from, uint32_t pieces, uint32_t *written);
WASI(args_sizes_get) uint32_t args_sizes_get(uint32_t *count, uint32_t *bytes);
WASI(args_get) uint32_t args_get(char **list, char *bytes);
WASI(proc_exit) _Noreturn void proc_exit(uint32_t code);

static uint8_t data[4096];
static char *args[16], arg_bytes[1024];
static int runs;

static void say(uint32_t fd, const void *text, uint32_t size) {
    piece p = {(void *)(uintptr_t)text, size};
    uint32_t n;
    if (fd_write(fd, &p, 1, &n)) __builtin_trap();
}

__attribute__((export_name("_start"))) void start(void) {
    if (runs++) say(1, "NOT FRESH ", 10);
    uint32_t count, bytes, n;
    if (args_sizes_get(&count, &bytes) || count > 16 || bytes > sizeof arg_bytes || args_get(args, arg_bytes)) proc_exit(2);
    for (uint32_t i = 1; i < count; i++) {
        uint32_t size = 0;
        while (args[i][size]) size++;
        say(1, args[i], size);
        say(1, " ", 1);
    }
    for (;;) {
        piece p = {data, sizeof data};
        if (fd_read(0, &p, 1, &n)) proc_exit(2);
        if (n == 0) break;
        if (n == 4 && data[0] == 'f' && data[3] == 'l') {
            say(2, "asked to fail\n", 14);
            proc_exit(3);
        }
        if (n == 5 && data[0] == 'c' && data[4] == 'h') __builtin_trap();
        for (uint32_t i = 0; i < n; i++)
            if (data[i] >= 'a' && data[i] <= 'z') data[i] -= 32;
        say(1, data, n);
    }
    proc_exit(0);
}
