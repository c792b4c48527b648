/* The Lua interpreter as a daemon. Its program is the configuration: a script that
 * returns a table with a function process, which gets each event as a string. The
 * whole interpreter is the daemon's state. README.md has what scripts can use.
 *
 * Lua's errors need a way out of many calls at once, which the contract has no
 * instruction for. Here an error ends the event: the host takes back all that it
 * did, and the sender gets its text. So there is no pcall, and no coroutine. */
#define WASMHOST_IMPLEMENTATION
#define WASMHOST_INIT
#define WASMHOST_LIBC
#include "../c/wasmhost.h"

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

static lua_State *L;
static int process; /* a reference to the script's function */

static const char *text_at_top(lua_State *l) {
    const char *s = lua_gettop(l) > 0 ? lua_tostring(l, -1) : 0;
    return s ? s : "an error without a text";
}

/* wh_lua_throw is what Lua is compiled to call where it would jump out. */
_Noreturn void wh_lua_throw(lua_State *l, int status) { wh_panic(status == LUA_ERRMEM ? "not enough memory" : text_at_top(l)); }

static int at_panic(lua_State *l) { wh_panic(text_at_top(l)); }

static int l_emit(lua_State *l) {
    size_t size;
    const char *s = luaL_checklstring(l, 1, &size);
    wh_emit(s, size);
    return 0;
}

static int l_log(lua_State *l) {
    static const char *const levels[] = {"debug", "info", "warn", "error", 0};
    int level = luaL_checkoption(l, 1, "info", levels);
    size_t size;
    const char *s = luaL_checklstring(l, 2, &size);
    wh_log_bytes(level, s, size);
    return 0;
}

/* fail(code, text) gives the text, and returns the code for process to return. */
static int l_fail(lua_State *l) {
    lua_Integer code = luaL_checkinteger(l, 1);
    size_t size;
    const char *s = luaL_checklstring(l, 2, &size);
    luaL_argcheck(l, code != 0 && code == (int32_t)code, 1, "a code is not 0 and has 32 bits");
    wh_fail_bytes(s, size);
    lua_pushinteger(l, code);
    return 1;
}

static int l_now(lua_State *l) {
    lua_pushinteger(l, wh_now());
    return 1;
}

static int l_sequence(lua_State *l) {
    lua_pushinteger(l, (lua_Integer)wh_event_sequence());
    return 1;
}

static int l_random(lua_State *l) {
    lua_Integer n = luaL_checkinteger(l, 1);
    luaL_argcheck(l, n >= 0 && n <= 65536, 1, "0 to 65536 bytes");
    luaL_Buffer b;
    wh_random(luaL_buffinitsize(l, &b, (size_t)n), (uint32_t)n);
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static int l_unsupported(lua_State *l) {
    return luaL_error(l, "%s is not supported: an error ends the event, and leaves no trace", lua_tostring(l, lua_upvalueindex(1)));
}

static int l_print(lua_State *l) {
    luaL_Buffer b;
    int n = lua_gettop(l);
    luaL_buffinit(l, &b);
    for (int i = 1; i <= n; i++) {
        if (i > 1) luaL_addchar(&b, '\t');
        luaL_tolstring(l, i, 0);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    size_t size;
    const char *s = lua_tolstring(l, -1, &size);
    wh_log_bytes(WH_INFO, s, size);
    return 0;
}

static void open_libraries(void) {
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base}, {LUA_TABLIBNAME, luaopen_table}, {LUA_STRLIBNAME, luaopen_string},
        {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8}, {0, 0}};
    for (const luaL_Reg *lib = libraries; lib->func; lib++) {
        luaL_requiref(L, lib->name, lib->func, 1);
        lua_pop(L, 1);
    }
    static const luaL_Reg functions[] = {{"emit", l_emit}, {"log", l_log}, {"fail", l_fail}, {"now", l_now},
        {"sequence", l_sequence}, {"random", l_random}, {"print", l_print}, {0, 0}};
    for (const luaL_Reg *f = functions; f->func; f++) lua_register(L, f->name, f->func);
    static const char *const unsupported[] = {"pcall", "xpcall", "dofile", "loadfile", 0};
    for (const char *const *name = unsupported; *name; name++) {
        lua_pushstring(L, *name);
        lua_pushcclosure(L, l_unsupported, 1);
        lua_setglobal(L, *name);
    }
}

int32_t wh_on_init(const uint8_t *script, uint32_t size) {
    if (size == 0) return wh_fail(2, "the configuration is a script: spawn with --config \"$(cat script.lua)\"");
    if (!(L = luaL_newstate())) return wh_fail(2, "not enough memory");
    lua_atpanic(L, at_panic);
    open_libraries();
    if (luaL_loadbufferx(L, (const char *)script, size, "=script", "t") != LUA_OK) return wh_fail(2, text_at_top(L));
    lua_call(L, 0, 1);
    if (!lua_istable(L, -1) || lua_getfield(L, -1, "process") != LUA_TFUNCTION) return wh_fail(2, "the script does not return a table with a function process");
    process = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, 0);
    return 0;
}

int32_t wh_on_event(const uint8_t *data, uint32_t size) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, process);
    lua_pushlstring(L, (const char *)data, size);
    lua_call(L, 1, 1);
    int32_t code = 0;
    if (!lua_isnil(L, -1)) {
        int is_code;
        code = (int32_t)lua_tointegerx(L, -1, &is_code);
        if (!is_code) wh_panic("process returned something else than nil, or what fail returns");
    }
    lua_settop(L, 0);
    return code;
}
