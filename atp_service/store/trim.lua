-- Trims recorded entries off a partition's journal. The last one stays, to be compared.
--
-- KEYS: the journal. ARGV: the last recorded entry's id, and its digest. An entry of another digest
-- is of another Redis: it is not in the ledger yet.
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then
  return 0
end
if entry[2][#entry[2]] ~= ARGV[2] then
  return redis.error_reply('FORKED at entry ' .. ARGV[1])
end
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
