-- The parts share their locals: what is checked is the script they make when joined.
std = "lua51"
read_globals = { "redis", "cmsgpack", "cjson", "bit", "struct", "KEYS", "ARGV" }
max_line_length = 100
