-- Redis's own clock, in milliseconds. A small file of its own, so that tests join one they hold.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
