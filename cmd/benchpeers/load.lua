-- The load: asks for the targets of a file in turn, with a browser's headers,
-- and prints what came of it as one JSON object to standard error.
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

function done(summary, latency)
  local e = summary.errors
  io.stderr:write(string.format('{"Requests":%d,"Duration":%d,"Errors":%d,"P50":%d,"P99":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
