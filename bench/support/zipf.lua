-- For wrk: asks for narinfos as a crowd of clients does, some very often and most hardly ever (Zipf's law).
-- Arguments: a file with one path a line, the most popular first; the exponent; how many requests to draw before they repeat.

local requests = {}
local position = 0

function init(args)
  local paths = {}
  for line in io.lines(args[1]) do
    paths[#paths + 1] = line
  end
  local exponent, draws = tonumber(args[2]), tonumber(args[3])

  local cumulative, sum = {}, 0
  for rank = 1, #paths do
    sum = sum + 1 / rank ^ exponent
    cumulative[rank] = sum
  end

  -- What a Nix client sends.
  wrk.headers["User-Agent"] = "curl/7.88.1 Nix/2.8.0"
  wrk.headers["Accept"] = "*/*"

  -- The same draws in every run.
  math.randomseed(1)
  local rendered = {}
  for draw = 1, draws do
    local wanted = math.random() * sum
    local low, high = 1, #paths
    while low < high do
      local middle = math.floor((low + high) / 2)
      if cumulative[middle] < wanted then low = middle + 1 else high = middle end
    end
    if rendered[low] == nil then rendered[low] = wrk.format("GET", paths[low]) end
    requests[draw] = rendered[low]
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end
