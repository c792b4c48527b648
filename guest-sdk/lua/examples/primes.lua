-- primes finds prime numbers, some for each event, and goes on where it was: "next N"
-- emits the next N of them. What it has found so far is in tables and a closure.
local found = {}

local function following()
  local n = #found > 0 and found[#found] or 1
  while true do
    n = n + 1
    local prime = true
    for _, p in ipairs(found) do
      if p * p > n then break end
      if n % p == 0 then prime = false; break end
    end
    if prime then
      found[#found + 1] = n
      return n
    end
  end
end

local daemon = {}

function daemon.process(event)
  local n = tonumber(event:match("^next (%d+)$"))
  if not n then return fail(2, "not a command: " .. event) end
  if n > 1000 then return fail(3, "too many at once") end
  local list = {}
  for i = 1, n do list[i] = following() end
  log("debug", #found .. " found")
  emit(table.concat(list, " "))
end

return daemon
