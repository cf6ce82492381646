-- wrk's part: posts one request after another, and reads in each answer how long the server says that it took.
--
-- CAIRN_PATH is the request's path; CAIRN_BODIES a file with a body on each line; without it the request is a GET. What happened is printed as one
-- line of JSON.

local threads = {}
local bodies, at = {}, 0
local file = os.getenv("CAIRN_BODIES")

function setup(thread)
  table.insert(threads, thread)
  thread:set("number", #threads)
end

function init(args)
  answered, server_s, cpu_us, refused = 0, 0, 0, 0
  -- How many answers took so many microseconds beside their search.
  beside = {}
  if file then
    for line in io.lines(file) do
      table.insert(bodies, wrk.format("POST", os.getenv("CAIRN_PATH"), {["Content-Type"] = "application/json"}, line))
    end
    -- Threads begin at different queries.
    at = (number * 211) % #bodies
  else
    bodies[1] = wrk.format("GET", os.getenv("CAIRN_PATH"))
  end
end

function request()
  at = at % #bodies + 1
  return bodies[at]
end

function response(status, headers, body)
  if status ~= 200 then
    refused = refused + 1
    return
  end
  answered = answered + 1
  local server = tonumber(string.match(body, '"time":([%d.eE+-]+)') or 0)
  local search = tonumber(string.match(body, '"cpu_us":(%d+)') or 0)
  server_s, cpu_us = server_s + server, cpu_us + search
  local us = math.floor(server * 1e6 - search + 0.5)
  beside[us] = (beside[us] or 0) + 1
end

local function median(counts, all)
  local values = {}
  for value in pairs(counts) do
    table.insert(values, value)
  end
  table.sort(values)
  local passed = 0
  for _, value in ipairs(values) do
    passed = passed + counts[value]
    if passed * 2 >= all then
      return value
    end
  end
  return 0
end

function done(summary, latency, requests)
  local sums = {answered = 0, server_s = 0, cpu_us = 0, refused = 0}
  local beside = {}
  for _, thread in ipairs(threads) do
    for us, count in pairs(thread:get("beside")) do
      beside[us] = (beside[us] or 0) + count
    end
    for name in pairs(sums) do
      sums[name] = sums[name] + thread:get(name)
    end
  end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  print(string.format(
    '{"answered": %d, "refused": %d, "errors": %d, "seconds": %.6f, "p50_us": %d, "p90_us": %d, "p99_us": %d, "server_us": %.2f, "search_us": %.2f, "beside_us": %d}',
    sums.answered, sums.refused, errors, summary.duration / 1e6, latency:percentile(50), latency:percentile(90), latency:percentile(99),
    sums.server_s * 1e6 / math.max(sums.answered, 1), sums.cpu_us / math.max(sums.answered, 1), median(beside, sums.answered)))
end
