/* move.pml: a range moves from group A to group B, in up to MOVES attempts (DESIGN section 5).
 *
 * What a group has logged is in its state; messages are facts that stay true once said, and may
 * arrive at any time after, so a crash of any leader is a message that comes later. Data is one key:
 * its value, 0 for deleted. B gets what is there (CLEAR, then a copy), and then follows A's log. What
 * a delete leaves behind at A may be collected, so a copy brings nothing of it.
 *
 * What must hold: one group at most serves; who serves has the last value that was written; and when
 * nothing can go on any more, somebody serves. Each BREAK_... takes one rule away (run.sh).
 */
#define MOVES      2
#define WRITES_MAX 4

mtype = { own, frozen, sealed, dropped, vacant, copying, copied, open, switched, cancelled };

mtype a = own, b = vacant;
byte a_move, b_move; /* the move that the state is about; 0: none */
byte a_finished;     /* the highest move that is over for A */
byte a_value, b_value, truth;
bool a_prepared;     /* a transaction has voted here, and will write */
byte prepared_value;
bool b_has_copy, b_is_behind;
byte writes;

byte move;           /* the master's newest */
mtype fate[MOVES + 1] = open;
bool said_sealed[MOVES + 1], said_copied[MOVES + 1], said_own[MOVES + 1];
bool ordered_freeze[MOVES + 1];

#ifdef BREAK_MOVE_NAMED
#define SAID(fact, id) (fact[1] || fact[2])
#else
#define SAID(fact, id) fact[id]
#endif

#ifdef BREAK_SEAL_PREPARED
#define A_MAY_SEAL   true
#define A_RESOLVES   (a == own || a == frozen || a == sealed)
#else
#define A_MAY_SEAL   (!a_prepared)
#define A_RESOLVES   (a == own || a == frozen)
#endif
#ifdef BREAK_COPIED
#define B_HAS_ALL true
#else
#define B_HAS_ALL (!b_is_behind)
#endif

inline a_write(value)
{
    a_value = value;
    truth = value;
    b_is_behind = true
}

proctype clients()
{
    byte value;
    do
    :: atomic { writes < WRITES_MAX ->
        writes++;
        if
        :: value = 0
        :: value = 1
        :: value = 2
        fi;
        if
        :: a == own && !a_prepared -> a_write(value)
        :: a == own && !a_prepared -> a_prepared = true; prepared_value = value
#ifdef BREAK_SEAL_WRITES
        :: a == sealed && !a_prepared -> a_write(value)
#endif
        :: b == own -> b_value = value; truth = value
        :: else
        fi
        }
    :: atomic { /* Commit and resolution go on while A is frozen; nothing does once it is sealed */
        a_prepared && A_RESOLVES -> a_prepared = false; a_write(prepared_value) }
    od
}

proctype group_a()
{
    byte id;
    do
    :: atomic { /* FREEZE */
        a == own && a_finished < MOVES && (ordered_freeze[1] && a_finished < 1 || ordered_freeze[2]) ->
        if
        :: ordered_freeze[1] && a_finished < 1 -> a_move = 1
        :: ordered_freeze[2] -> a_move = 2
        fi;
        a = frozen
        }
    :: atomic { /* SEAL */
        a == frozen && A_MAY_SEAL -> a = sealed; said_sealed[a_move] = true }
    :: atomic { /* UNFREEZE */
        (a == frozen || a == sealed) && fate[a_move] == cancelled ->
        assert(b != own);
        a = own;
        a_finished = a_move
        }
    :: atomic { /* DROP */
#ifdef BREAK_DROP
        a == sealed ->
#else
        a == sealed && said_own[a_move] ->
#endif
        a = dropped
        }
    od
}

proctype group_b()
{
    do
    :: atomic { /* CLEAR, by the first entry of the move */
        b != own && b_move < move ->
        b_move = move;
        b = copying;
        b_has_copy = false;
#ifndef BREAK_CLEAR
        b_value = 0
#endif
        }
    :: atomic { /* the copy: what is deleted is not there to be copied */
        b == copying && !b_has_copy && a != dropped ->
        b_has_copy = true;
        b_is_behind = false;
        if
        :: a_value != 0 -> b_value = a_value
        :: else
        fi
        }
    :: atomic { /* follows by log index */
        b == copying && b_has_copy && b_is_behind && a != dropped -> b_value = a_value; b_is_behind = false }
    :: atomic { /* COPIED */
        b == copying && b_has_copy && SAID(said_sealed, b_move) && B_HAS_ALL -> b = copied; said_copied[b_move] = true }
    :: atomic { /* OWN */
#ifdef BREAK_OWN
        b == copied ->
#else
        b == copied && fate[b_move] == switched ->
#endif
        assert(b_value == truth);
        b = own;
        said_own[b_move] = true
        }
    od
}

proctype master()
{
    do
    :: atomic { /* one move of a range at a time */
        move < MOVES && (move == 0 || fate[move] == cancelled) -> move++ }
    :: atomic { move > 0 && fate[move] == open && !ordered_freeze[move] -> ordered_freeze[move] = true }
    :: atomic { /* the fate is decided once, and is final */
        move > 0 && fate[move] == open && SAID(said_sealed, move) && SAID(said_copied, move) -> fate[move] = switched }
    :: atomic { move > 0 && fate[move] == open -> fate[move] = cancelled }
#ifdef BREAK_FATE
    :: atomic { move > 0 && fate[move] == switched -> fate[move] = cancelled }
#endif
    od
}

active proctype judge()
{
    do
    :: a == own && b == own -> assert(false)
    :: a == own && a_value != truth -> assert(false)
    :: b == own && b_value != truth -> assert(false)
    :: timeout -> assert(a == own || b == own); break
    od
}

init
{
    atomic {
        run clients();
        run group_a();
        run group_b();
        run master()
    }
}
