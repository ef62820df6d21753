/* oracle.pml: timestamps over changes of leader (DESIGN O1, O2, O3; shardmaster/oracle.c).
 *
 * Two replicas of group 0 lead in turn; who is deposed does not know it yet. Whoever leads at the
 * highest term commits; what a leader knows of the ceiling is what it found and what it raised.
 * Each of two stores has one request under way for all that wait at it. An asker notes the highest
 * answer that anybody has had when it asks, and its own must be above that.
 */
#define TERMS_MAX 3
#define TIME_MAX  4
#define ASKERS    3

#ifdef BREAK_CONFIRM
#define IS_CONFIRMED(me, at) true
#else
#define IS_CONFIRMED(me, at) (confirmed_term[at * 2 + me] == term_of[me])
#endif
#ifdef BREAK_CEILING
#define SERVED_MAX(me) TIME_MAX
#else
#define SERVED_MAX(me) known_ceiling[me]
#endif

byte term;             /* the highest that somebody was elected in */
byte term_of[2];       /* the term in which each believes to lead; 0: it does not */
byte ceiling;          /* committed */
byte known_ceiling[2];
byte last[2];          /* the highest that each has handed out, or where its leadership began */
byte answered_max;     /* of all answers that have arrived */
bool given[TIME_MAX + 1];

/* The request of each store. */
bool request_sent[2], request_answered[2];
byte request_answer[2];
byte confirmed_term[4]; /* the term in which a replica was confirmed for it; 0: it was not */

/* Askers 0 and 1 are at store 0, asker 2 at store 1. */
bool waits[ASKERS], in_request[ASKERS];
byte floor_of[ASKERS];

proctype replica(byte me)
{
    byte at = 0;
    do
    :: atomic { /* elected: starts at the ceiling (O1) */
        term < TERMS_MAX && term_of[me] != term || term == 0 ->
        term++;
        term_of[me] = term;
        known_ceiling[me] = ceiling;
#ifndef BREAK_START
        last[me] = ceiling
#endif
        }
    :: atomic { /* raises the ceiling */
        term_of[me] == term && term > 0 && ceiling < TIME_MAX ->
        ceiling++;
        known_ceiling[me] = ceiling
        }
    :: at = 1 - at
    :: atomic { /* a ReadIndex round that began after the request came (O2) */
        request_sent[at] && !request_answered[at] && term_of[me] == term && term > 0 ->
        confirmed_term[at * 2 + me] = term
        }
    :: atomic { /* serves */
        request_sent[at] && !request_answered[at] && term_of[me] > 0 && IS_CONFIRMED(me, at) &&
        last[me] < SERVED_MAX(me) ->
        last[me]++;
        assert(!given[last[me]]); /* never twice */
        given[last[me]] = true;
        request_answered[at] = true;
        request_answer[at] = last[me]
        }
    od
}

proctype asker(byte me)
{
    do
    :: atomic {
        !waits[me] ->
        waits[me] = true;
        floor_of[me] = answered_max;
#ifdef BREAK_SHARE
        in_request[me] = request_sent[me / 2] /* joins the one under way */
#endif
        }
    od
}

inline request_end()
{
    request_sent[me] = false;
    request_answered[me] = false;
    request_answer[me] = 0;
    confirmed_term[me * 2] = 0;
    confirmed_term[me * 2 + 1] = 0
}

inline take(who)
{
    if
    :: in_request[who] ->
        assert(request_answer[me] > floor_of[who]); /* nothing old */
        waits[who] = false;
        in_request[who] = false;
        floor_of[who] = 0
    :: else
    fi
}

proctype store(byte me)
{
    do
    :: atomic { /* for all that wait now (O3) */
        !request_sent[me] && (me == 0 -> waits[0] || waits[1] : waits[2]) ->
        request_sent[me] = true;
        if
        :: me == 0 -> in_request[0] = waits[0]; in_request[1] = waits[1]
        :: else -> in_request[2] = waits[2]
        fi
        }
    :: atomic { /* no answer for long: given up; a late one means nothing */
        request_sent[me] && !request_answered[me] ->
        if
        :: me == 0 -> in_request[0] = false; in_request[1] = false
        :: else -> in_request[2] = false
        fi;
        request_end()
        }
    :: atomic { /* the answer */
        request_sent[me] && request_answered[me] ->
        if
        :: answered_max < request_answer[me] -> answered_max = request_answer[me]
        :: else
        fi;
        if
        :: me == 0 -> take(0); take(1)
        :: else -> take(2)
        fi;
        request_end()
        }
    od
}

init
{
    atomic {
        run replica(0);
        run replica(1);
        run asker(0);
        run asker(1);
        run asker(2);
        run store(0);
        run store(1)
    }
}
