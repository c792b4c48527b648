/* echo emits every event as it came. */
#define WASMHOST_IMPLEMENTATION
#define WASMHOST_STATELESS
#include "../wasmhost.h"

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    wh_emit(data, size);
    return 0;
}
