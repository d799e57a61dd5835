-- The load: requests the targets of a file in turn, with a browser's headers, and
-- prints the result as one JSON object to standard error. RATE is the number of
-- requests a second; 0: each connection sends as soon as it has a response.
local targets = {}
for line in io.lines(os.getenv("TARGETS")) do
  targets[#targets + 1] = wrk.format("GET", line, {
    ["Host"] = "127.0.0.1",
    ["User-Agent"] = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    ["Accept-Language"] = "de-CH,de;q=0.9,en;q=0.8",
    ["Accept-Encoding"] = "gzip, deflate, br, zstd",
    ["Sec-Fetch-Dest"] = "document",
    ["Sec-Fetch-Mode"] = "navigate",
    ["Sec-Fetch-Site"] = "none",
  })
end
local next = 0

function request()
  next = next % #targets + 1
  return targets[next]
end

local rate = tonumber(os.getenv("RATE"))
if rate > 0 then
  local ffi = require("ffi")
  ffi.cdef[[
    typedef struct { long sec, nsec; } timespec;
    int clock_gettime(int clock, timespec *now);
  ]]
  local now, due = ffi.new("timespec"), 0
  -- delay returns the milliseconds until the next request is due. They are due at
  -- equal distances, whatever the server does; wrk's timers are whole milliseconds.
  function delay()
    ffi.C.clock_gettime(1, now)
    local ms = tonumber(now.sec) * 1e3 + tonumber(now.nsec) / 1e6
    due = (due == 0 and ms or due) + 1e3 / rate
    return math.max(0, math.floor(due - ms + 0.5))
  end
end

function done(summary, latency)
  local e = summary.errors
  io.stderr:write(string.format('{"Requests":%d,"Duration":%d,"Errors":%d,"P50":%d,"P99":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
