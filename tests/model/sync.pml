/* At most one sync of an asset at a time, on any sandbox host. Checked by `make model`.
 *
 * One session with one asset, two incarnations of cell hosts, two sandbox hosts. The first cell host owns the session;
 * the second may take it over, rightly or by a false mark. Every step is atomic, as it is in the database or in a
 * ledger; between two steps anything may happen for any time: a host may freeze, be cut off, or be taken for dead. A
 * sandbox host out of reach is one that is not asked. Frames may be lost, late, or come twice. All clocks run at one
 * rate and only differences are compared, so one clock stands for all.
 *
 * A clock token is the time of the holder's last renewal: it was read before that, and an older one starts less and
 * ends sooner. Not here, because exclusion does not rest on it: that nothing is started after 2/3 of a lease, wakes,
 * drain, the broker. Two epochs and two executions are enough to show every mutant.
 *
 * A mutant is a rule left out, by -D; each must lead to an overlap, or to a run that is carried out twice.
 */
#define TTL 1          /* lease of a cell host, and the greatest age of a clock token at a start */
#define ORPHAN 2       /* orphanTimeout, longer than the lease (setpoint/contracts/limits.py) */
#ifdef RESTARTS
#define TIME 4         /* the end of the world */
#else
#define TIME 5
#endif
#define EPOCHS 2
#define RUNS 2         /* executions of syncs; a run id is the number of its execution */
#define SLACK 1        /* how late a sandbox host kills after a deadline: sandboxd/runner.py, watch_orphans */
#define NOBODY 2

#ifdef NO_GRACE
#define GRACE 0
#else
#define GRACE SLACK    /* how much longer than the deadline an owner waits: celld/host/runs.py, _reopen */
#endif

byte now;

/* The database: migrations/versions/0007_leases.sql, 0008_lifecycle.sql, 0010_append.sql */
byte epoch = 1;                /* session_heads.epoch */
byte owner;                    /* session_heads.owner_incarnation */
byte lease[2];                 /* cell_hosts.lease_expires_at; 0: not registered yet */
bit marked[2];                 /* cell_hosts.state = 'fenced' */
byte execution;                /* sync.started events so far */
byte open;                     /* the execution that has started and not ended in the log, 0 for none */
bit place;                     /* session_heads.sandbox_host */
bit place_ledger;              /* session_heads.ledger_id */

/* The cell hosts: what each believes. */
byte held[2];                  /* the epoch under which it owns the session, 0 for none */
bit token[4];                  /* its last reading of a sandbox host's clock is of that host's present process */
bit fenced[4];                 /* it has fenced that host in this connection: celld/host/bench.py, _fence */
bit at[2]; bit at_ledger[2];   /* the session's sandbox host and its ledger, as it knows them */
byte job[2];                   /* the run it is to start, 0 for none */
bit sent[2];                   /* it may have sent a start of the open run in this epoch */
byte until[2];                 /* before this it does not give the open run up: celld/host/runs.py, _reopen */
#define L(h, s) ((h) * 2 + (s))
#ifdef LIFE_FORGETS
byte until_life[2];            /* the same, as the next life of the cell would know it */
#endif
#ifdef READ_AFTER
byte read_at[2];               /* readings that do not wait for a renewal */
#define CLOCK(h) read_at[h]
#else
#define CLOCK(h) (lease[h] - TTL)
#endif

/* A start under way. */
byte f_run; byte f_epoch; byte f_clock; bit f_token; bit f_to;

/* The sandbox hosts and their ledgers: sandboxd/ledger.py */
byte floor[2];
bit ledger[2];                 /* which ledger: a host may lose its disk once */
bit restarted[2];              /* its process may die once */
byte state[2 * RUNS + 1];      /* of a run on a host: 0 never seen, 1 running, 2 finished or interrupted */
byte deadline[2 * RUNS + 1];
bit carried_out[RUNS + 1];
#define R(s, n) ((s) * RUNS + (n))
#define RUNNING ((state[1] == 1) + (state[2] == 1) + (state[3] == 1) + (state[4] == 1))
#define LATER(x, y) x = (x > (y) -> x : (y))

#ifdef NO_APPEND_FENCE
#define MAY_APPEND(h) (held[h] != 0)
#else
#define MAY_APPEND(h) (held[h] != 0 && held[h] == epoch && owner == h)  /* append_batch: else 'fenced' */
#endif
#ifdef RENEW_MARKED
#define MAY_RENEW(h) true
#else
#define MAY_RENEW(h) (!marked[h])                      /* host_renew: x.state <> 'fenced'; late is no obstacle */
#endif
#ifdef RECEIPT
#define DEADLINE(clock) (now + ORPHAN)
#else
#define DEADLINE(clock) ((clock) + ORPHAN)             /* sandboxd/host.py, _start_new */
#endif
#ifdef NO_FLOOR
#define LETS_IN(s, e) true
#else
#define LETS_IN(s, e) (e >= floor[s])                  /* sandboxd/ledger.py, _admit */
#endif
#ifdef NO_TOKEN_AGE
#define FRESH(clock) true
#else
#define FRESH(clock) (now <= (clock) + TTL)            /* sandboxd/core/admit.py, token_fault */
#endif
#ifdef NO_WAIT
#define OVER(h) true
#else
#define OVER(h) (now >= until[h])
#endif
#ifdef MOVE_BUSY
#define MAY_MOVE true
#else
#define MAY_MOVE (open == 0)                           /* celld/host/bench.py, ready: not while busy */
#endif
#ifdef BELIEVE_NEW_LEDGER
#define SAME_LEDGER(h) true
#else
#define SAME_LEDGER(h) (ledger[at[h]] == at_ledger[h]) /* celld/host/bench.py, ready and learn */
#endif
#ifdef CANCEL_SENT
#define NEVER_SENT(h) true
#else
#define NEVER_SENT(h) (!sent[h])                       /* celld/host/runs.py, cancel */
#endif

inline forget_connection(h) { fenced[L(h, 0)] = 0; fenced[L(h, 1)] = 0; job[h] = 0 }
inline close_open(h) {
  open = 0; job[h] = 0; sent[h] = 0; until[h] = 0;
#ifdef LIFE_FORGETS
  until_life[h] = 0
#endif
}
inline end_run(x) { state[x] = 2; deadline[x] = 0 }

inline tick() {
  d_step { now < TIME -> now++;
    for (i : 1 .. 2 * RUNS) {
      if :: state[i] == 1 && now >= deadline[i] + SLACK -> end_run(i) :: else fi } i = 0 }
}

/* 0008_lifecycle.sql, acquire: from a holder that is marked or whose lease is over; that one is marked with it. */
inline acquire(h, holder) {
  d_step { epoch < EPOCHS && owner == holder && !marked[h] && lease[h] > now &&
      (marked[holder] || lease[holder] < now) ->
#ifndef NO_MARK
    marked[holder] = 1;
#endif
    epoch++; owner = h; held[h] = epoch; at[h] = place; at_ledger[h] = place_ledger; sent[h] = 0; forget_connection(h);
#ifdef WAIT_FROM_START
    until[h] = (open -> ORPHAN + GRACE : 0);  /* from an event of the log, here at time 0, not from the answer */
#else
    until[h] = (open -> now + ORPHAN + GRACE : 0);
#endif
#ifdef LIFE_FORGETS
    until_life[h] = until[h]
#endif
  }
}

/* 0007_leases.sql, host_register and host_renew; celld/host/token.py: a reading before it becomes a token. */
inline renew(h) {
  d_step { MAY_RENEW(h) && now < TIME && (lease[h] < now + TTL || !token[L(h, 0)] || !token[L(h, 1)]) ->
    lease[h] = now + TTL; token[L(h, 0)] = 1; token[L(h, 1)] = 1 }
}

/* celld/host/bench.py, _fence; sandboxd/ledger.py, fence. A host that is told of a newer epoch drops the session. */
inline fence(h, s) {
  d_step { held[h] && !fenced[L(h, s)] ->
    if
    :: LETS_IN(s, held[h]) -> LATER(floor[s], held[h]); fenced[L(h, s)] = 1
    :: else -> held[h] = 0; sent[h] = 0; until[h] = 0; forget_connection(h)
    fi }
}

/* A new execution: sync.started is committed before anything starts. */
inline begin(h) {
  d_step { MAY_APPEND(h) && open == 0 && execution < RUNS -> execution++; open = execution; job[h] = open; sent[h] = 0 }
}

inline carry_out(s, n, clock) {
  assert(!carried_out[n]);                           /* a run id is carried out once */
  state[R(s, n)] = 1; deadline[R(s, n)] = DEADLINE(clock); carried_out[n] = 1;
  assert(RUNNING <= 1)                                 /* syncs of one asset never overlap */
}

/* celld/host/runs.py, _send_start: in a fenced connection, with a token. */
#define STARTS(h, s) (held[h] && job[h] && at[h] == s && SAME_LEDGER(h) && fenced[L(h, s)] && token[L(h, s)])
inline send_start(h, s) {
  d_step { STARTS(h, s) && f_run == 0 ->
    f_run = job[h]; f_epoch = held[h]; f_clock = CLOCK(h); f_token = 1; f_to = s; sent[h] = 1;
    LATER(until[h], now + ORPHAN + GRACE) }
}
inline start_at_once(h, s) {
  d_step { STARTS(h, s) && LETS_IN(s, held[h]) && state[R(s, job[h])] == 0 && FRESH(CLOCK(h)) ->
    sent[h] = 1; LATER(until[h], now + ORPHAN + GRACE); carry_out(s, job[h], CLOCK(h)) }
}

/* sandboxd/host.py, _start and _start_new: the floor, then the ledger, then the token. It may come again. */
inline deliver() {
  d_step { f_run && f_token && LETS_IN(f_to, f_epoch) && state[R(f_to, f_run)] == 0 && FRESH(f_clock) ->
    LATER(floor[f_to], f_epoch); carry_out(f_to, f_run, f_clock) }
}
inline lose_frame() { d_step { f_run -> f_run = 0; f_epoch = 0; f_clock = 0; f_token = 0; f_to = 0 } }

/* celld/host/sandboxes.py, keep_alive; sandboxd/host.py, _keep_alive: any age, only from who spoke last. */
inline keep_alive(h, s) {
  d_step { held[h] && fenced[L(h, s)] && token[L(h, s)] && floor[s] == held[h] &&
      (state[R(s, 1)] == 1 || state[R(s, 2)] == 1) ->
    for (i : 1 .. RUNS) { if :: state[R(s, i)] == 1 -> LATER(deadline[R(s, i)], DEADLINE(CLOCK(h))) :: else fi } i = 0;
    LATER(until[h], now + ORPHAN + GRACE);
#ifdef LIFE_FORGETS
    LATER(until_life[h], now + ORPHAN + GRACE)
#endif
  }
}

/* What the owner makes of the open run after a fence: celld/host/bench.py, learn; celld/core/runs.py, found. */
#define LEARNS(h) (MAY_APPEND(h) && open && fenced[L(h, place)] && SAME_LEDGER(h))
inline learn_ended(h) { d_step { LEARNS(h) && state[R(place, open)] == 2 -> close_open(h) } }
inline learn_never_seen(h) { d_step { LEARNS(h) && state[R(place, open)] == 0 && !job[h] -> job[h] = open } }
inline learn_cancelled(h) { d_step { LEARNS(h) && state[R(place, open)] == 0 && NEVER_SENT(h) -> close_open(h) } }

/* Not reached for the whole wait: outcome_unknown. celld/host/runs.py, _recover. */
inline give_up(h) { d_step { MAY_APPEND(h) && open && OVER(h) -> close_open(h) } }

/* celld/host/bench.py, _move: a workspace elsewhere, or here in a new ledger; after a fence there. */
inline move(h, s) {
  d_step { MAY_APPEND(h) && MAY_MOVE && fenced[L(h, s)] && (place != s || place_ledger != ledger[s]) ->
    place = s; place_ledger = ledger[s]; at[h] = s; at_ledger[h] = ledger[s] }
}

/* The cell dies; its next life under the same epoch knows what celld kept. celld/host/owner.py, _new_life. */
inline next_life(h) {
  d_step { held[h] && (job[h] || fenced[L(h, 0)] || fenced[L(h, 1)]) ->
    forget_connection(h);
#ifdef LIFE_FORGETS
    until[h] = until_life[h]
#endif
  }
}

/* sandboxd dies and comes back: its runs are proven gone, its tokens void. sandboxd/reaper.py, core/admit.py. */
inline restart(s, lost) {
  d_step { !restarted[s] -> restarted[s] = 1;
    for (i : 1 .. RUNS) { if :: state[R(s, i)] == 1 -> end_run(R(s, i)) :: else fi } i = 0;
    token[L(0, s)] = 0; token[L(1, s)] = 0; fenced[L(0, s)] = 0; fenced[L(1, s)] = 0;
    if :: f_to == s -> f_token = 0 :: else fi;
    if :: lost -> ledger[s] = 1; floor[s] = 0; state[R(s, 1)] = 0; state[R(s, 2)] = 0 :: else fi }
}

active proctype world() {
  byte i;
  held[0] = 1; lease[0] = TTL; token[L(0, 0)] = 1; token[L(0, 1)] = 1;
  do
  :: tick()
#define CELL_HOST(h) \
  :: renew(h) :: begin(h) :: give_up(h) :: next_life(h) \
  :: fence(h, 0) :: send_start(h, 0) :: start_at_once(h, 0) :: keep_alive(h, 0) \
  :: learn_ended(h) :: learn_never_seen(h) :: learn_cancelled(h)
  CELL_HOST(0)
  CELL_HOST(1)
  :: d_step { !marked[0] && epoch < EPOCHS -> marked[0] = 1 }   /* host_dead(refused), rightly or not */
  :: acquire(1, 0) :: move(1, 0) :: move(1, 1)                  /* only the second host moves the session */
  :: fence(1, 1) :: send_start(1, 1) :: start_at_once(1, 1) :: keep_alive(1, 1)
#ifdef READ_AFTER
  :: d_step { read_at[0] < now -> read_at[0] = now }
  :: d_step { read_at[1] < now -> read_at[1] = now }
#endif
  :: deliver() :: lose_frame()
  :: d_step { state[1] == 1 -> end_run(1) } :: d_step { state[2] == 1 -> end_run(2) }  /* runs end by themselves */
  :: d_step { state[3] == 1 -> end_run(3) } :: d_step { state[4] == 1 -> end_run(4) }
#ifdef RESTARTS
  :: restart(0, false) :: restart(0, true)
#endif
  od
}

#ifdef REACHED_ADOPTION         /* to see that the model does what it is for */
#define REACHED (state[1] == 1 && floor[0] == 2 && held[1] == 2 && now > ORPHAN + SLACK)
#endif
#ifdef REACHED_LOSS
#define REACHED (carried_out[1] && state[R(1, 2)] == 2)
#endif
#ifdef REACHED
active proctype watch() { d_step { REACHED -> assert(false) } }
#endif
