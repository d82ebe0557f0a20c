-- name: table
-- The shape of the log, and nothing else: no functions, no row-level security, no other table.
CREATE SCHEMA IF NOT EXISTS bench;
CREATE TABLE bench.events (LIKE setpoint.events INCLUDING ALL) PARTITION BY HASH (tenant_id);
CREATE TABLE bench.events_h0 PARTITION OF bench.events FOR VALUES WITH (MODULUS 8, REMAINDER 0);
CREATE TABLE bench.events_h1 PARTITION OF bench.events FOR VALUES WITH (MODULUS 8, REMAINDER 1);
CREATE TABLE bench.events_h2 PARTITION OF bench.events FOR VALUES WITH (MODULUS 8, REMAINDER 2);
CREATE TABLE bench.events_h3 PARTITION OF bench.events FOR VALUES WITH (MODULUS 8, REMAINDER 3);
CREATE TABLE bench.events_h4 PARTITION OF bench.events FOR VALUES WITH (MODULUS 8, REMAINDER 4);
CREATE TABLE bench.events_h5 PARTITION OF bench.events FOR VALUES WITH (MODULUS 8, REMAINDER 5);
CREATE TABLE bench.events_h6 PARTITION OF bench.events FOR VALUES WITH (MODULUS 8, REMAINDER 6);
CREATE TABLE bench.events_h7 PARTITION OF bench.events FOR VALUES WITH (MODULUS 8, REMAINDER 7)

-- name: script
-- For pgbench: one event, one transaction; every client writes a session of its own. :text fills data to its size.
-- A third of the rows are in the index of accepted commands, as in the log of a halt and its end.
\set seq :seq + 1
INSERT INTO bench.events (tenant_id, session_id, seq, at, epoch_inc, epoch, type, v, command_id, data)
VALUES ('01980000-0000-7000-8000-000000000001',
        ('01980000-0000-7000-8000-' || lpad(:session::text, 12, '0'))::uuid, :seq, clock_timestamp(), 1, 1,
        CASE :seq % 3 WHEN 0 THEN 'command.accepted' ELSE 'halt.started' END, 1, '01980000-0000-7000-8000-000000000002', jsonb_build_object('text', :text::text))
