/* A command that was promised takes effect exactly once in the log, whoever dies. Checked by `make model`.
 *
 * One session, two incarnations of cell hosts, a command of a client; its end, the second decision about it, stands for
 * those of other commands. There is no clock here: a holder may be taken for dead at any moment, so nothing of this
 * rests on time. Calls of append_batch stay under way for any time, survive whoever made them, may be carried out after
 * he has forgotten them, and are repeated while their outcome is unknown. A cell may die at any moment and is restored
 * from the log under the same epoch. Steps of the database are atomic: each is one function in one transaction.
 *
 * A mutant is a rule left out, by -D; each must lead to a broken assertion.
 */
#define EPOCHS 3
#define SEQ 8                   /* the log ends here: nothing more is appended */
#define NOBODY 2
#define ACCEPT(c) (1 + (c))     /* the two decisions about a command: command.accepted, and its end */
#define END(c) (3 + (c))
#define BIT(c) (1 << (c))

/* The database: migrations/versions/0008_lifecycle.sql, 0009_enqueue.sql, 0010_append.sql */
byte epoch; byte owner = NOBODY; byte head = 1; /* session_heads */
byte log_epoch;                 /* of the newest event */
bit wake = 1;                   /* a row in session_wakes */
bit asked[2];                   /* a row in commands, and its key in idempotency_keys */
bit inbox[2];                   /* a row in command_inbox */
byte accepted[2]; byte ended[2];/* events of a command */

bit promised[2];                /* the client was told 202; until then it repeats under the same key */

/* The cell hosts. */
byte held[2];                   /* the epoch under which it owns the session, 0 for none */
byte folded[2];                 /* the head up to which its cell has folded the log */
byte view[2];                   /* commands it has read from the inbox, as bits */
byte knows[2]; byte knows_end[2];/* commands its cell knows to be accepted, to be ended */
bit acted[2];                   /* an effect of an accepted command was carried out */

/* Calls under way: 0 and 1 of the hosts' present lives, 2 and 3 of earlier ones. */
byte c_what[4]; byte c_epoch[4]; byte c_head[4];
bit c_last[4];                  /* it is session_heads.last_batch_id */

#ifdef NO_EPOCH
#define FENCED(k) false
#else
#define FENCED(k) (c_epoch[k] != epoch || owner == NOBODY)   /* append_batch: 'fenced' */
#endif
#ifdef NO_HEAD
#define MOVED(k) false
#else
#define MOVED(k) (c_head[k] != head)                         /* append_batch: 'moved_head' */
#endif
#ifdef NO_KEY
#define UNKNOWN(h, c) true                                   /* it comes under another command id */
#else
#define UNKNOWN(h, c) (!(knows[h] & BIT(c)))
#endif
#define BROKEN(c) ((promised[c] && !inbox[c] && !accepted[c]) || accepted[c] > 1 || ended[c] > 1 \
  || ended[c] > accepted[c] || (acted[c] && !accepted[c]) || (inbox[c] && owner == NOBODY && !wake))

#ifdef SLEEP_BUSY
#define MAY_SLEEP(sleeps) true
#else
#define MAY_SLEEP(sleeps) (!sleeps || (!inbox[0] && !inbox[1]))   /* 'busy' */
#endif

inline clear(k) { c_what[k] = 0; c_epoch[k] = 0; c_head[k] = 0; c_last[k] = 0 }
inline moved_on() { c_last[0] = 0; c_last[1] = 0; c_last[2] = 0; c_last[3] = 0 }
inline forget(h) { folded[h] = 0; view[h] = 0; knows[h] = 0; knows_end[h] = 0 }
inline leave_call(h) {          /* its call goes on without it */
  if :: c_what[h] -> c_what[h + 2] = c_what[h]; c_epoch[h + 2] = c_epoch[h]; c_head[h + 2] = c_head[h];
        c_last[h + 2] = c_last[h]; clear(h) :: else fi
}

/* 0009_enqueue.sql: the row lock of the head orders it with everything else; the same key again is a replay. */
inline enqueue(c) {
  d_step { !asked[c] -> asked[c] = 1; inbox[c] = 1;
#ifndef NO_WAKE
    if :: owner == NOBODY -> wake = 1 :: else fi
#endif
  }
}
inline answer(c) { d_step { asked[c] && !promised[c] -> promised[c] = 1 } }
inline take_again(c) {          /* a repeated request as if it were a new one */
  d_step { asked[c] && !promised[c] && !inbox[c] -> inbox[c] = 1; if :: owner == NOBODY -> wake = 1 :: else fi }
}

/* 0008_lifecycle.sql, acquire; the holder may have been marked or be over at any moment. Repeated: 'mine'. */
inline acquire(h) {
  d_step { wake && owner != h && epoch < EPOCHS && head < SEQ ->
    epoch++; owner = h; head++; log_epoch = epoch; wake = 0; moved_on(); held[h] = epoch; leave_call(h); forget(h) }
}
inline acquire_mine(h) { d_step { owner == h && !held[h] -> held[h] = epoch; forget(h) } }

/* 0008_lifecycle.sql, release. */
inline release(h, sleeps) {
  d_step { held[h] == epoch && owner == h && !c_what[h] && folded[h] == head && head < SEQ && MAY_SLEEP(sleeps) ->
    owner = NOBODY; head++; moved_on(); held[h] = 0; forget(h);
    if :: !sleeps -> wake = 1 :: else fi }
}

/* celld/host/life.py: a life begins with the whole log; celld/plane/inbox.py: what waits is read from the table. */
inline next_life(h) {
  d_step { held[h] && (folded[h] != head || c_what[h]) -> leave_call(h); forget(h); folded[h] = head;
    for (i : 0 .. 1) {
      if :: accepted[i] -> knows[h] = knows[h] | BIT(i) :: else fi;
      if :: ended[i] -> knows_end[h] = knows_end[h] | BIT(i) :: else fi } i = 0 }
}
inline read_inbox(h, c) {
  d_step { held[h] && folded[h] && inbox[c] && !(view[h] & BIT(c)) -> view[h] = view[h] | BIT(c);
#ifdef ACK_FIRST
    inbox[c] = 0
#endif
  }
}

/* A decision; one at a time, on what the cell has folded. */
inline decide(h, c) {
  d_step { held[h] && !c_what[h] && folded[h] && (view[h] & BIT(c)) && UNKNOWN(h, c) ->
    c_what[h] = ACCEPT(c); c_epoch[h] = held[h]; c_head[h] = folded[h] }
}
inline decide_end(h, c) {
  d_step { held[h] && !c_what[h] && folded[h] && (knows[h] & BIT(c)) && !(knows_end[h] & BIT(c)) ->
    c_what[h] = END(c); c_epoch[h] = held[h]; c_head[h] = folded[h] }
}

/* 0010_append.sql, append_batch: compare and set, events, acknowledgement and results in one transaction. */
inline append(k, c) {
  assert(c_head[k] == head);                       /* a decision knows everything that stands before it */
  assert(c_epoch[k] >= log_epoch);                 /* epochs in the log never go back */
  head++; log_epoch = c_epoch[k]; moved_on(); c_last[k] = 1;
  if
  :: c_what[k] == ACCEPT(c) -> accepted[c]++; inbox[c] = 0
  :: else -> ended[c]++
  fi
}
#define ABOUT(k, c) (c_what[k] == ACCEPT(c) || c_what[k] == END(c))
inline carry_out(k, c) { d_step { ABOUT(k, c) && !FENCED(k) && !c_last[k] && !MOVED(k) && head < SEQ -> append(k, c) } }

/* The answer reaches a caller that still waits: ok or already; fenced; moved_head ends its life, see next_life. */
inline hear(h, c) {
  d_step { ABOUT(h, c) && c_last[h] && !FENCED(h) ->
    folded[h] = c_head[h] + 1;
    if
    :: c_what[h] == ACCEPT(c) -> knows[h] = knows[h] | BIT(c); view[h] = view[h] & ~BIT(c)
    :: else -> knows_end[h] = knows_end[h] | BIT(c)
    fi;
    clear(h) }
}
inline hear_fenced(h) { d_step { c_what[h] && FENCED(h) -> held[h] = 0; clear(h); forget(h) } }

/* Commit first, then act. */
inline act(h, c) {
#ifdef ACT_FIRST
  d_step { held[h] && !acted[c] && (c_what[h] == ACCEPT(c) || (knows[h] & BIT(c))) -> acted[c] = 1 }
#else
  d_step { held[h] && !acted[c] && (knows[h] & BIT(c)) -> acted[c] = 1 }
#endif
}

active proctype world() {
  byte i;
  do
  :: enqueue(0) :: answer(0)
#ifdef NO_KEY
  :: take_again(0)
#endif
  :: d_step { owner != NOBODY && !wake -> wake = 1 }                     /* host_dead, rightly or not */
#define CELL_HOST(h) \
  :: acquire(h) :: acquire_mine(h) :: release(h, true) :: release(h, false) :: next_life(h) \
  :: read_inbox(h, 0) :: decide(h, 0) :: decide_end(h, 0) :: hear(h, 0) :: hear_fenced(h) :: act(h, 0) \
  :: d_step { held[h] -> leave_call(h); held[h] = 0; forget(h) }         /* celld dies */ \
  :: carry_out(h, 0) :: carry_out(h + 2, 0) :: d_step { c_what[h + 2] -> clear(h + 2) }
  CELL_HOST(0)
  CELL_HOST(1)
  od
}

#ifdef REACHED                  /* to see that the model does what it is for */
#define WATCHED (ended[0] && acted[0] && promised[0] && epoch == EPOCHS && owner == NOBODY)
#else
#define WATCHED (BROKEN(0) || BROKEN(1))
#endif
active proctype watch() { d_step { WATCHED -> assert(false) } }
