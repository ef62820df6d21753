/* record.pml: one transaction over two groups, or in one: record, tombstone, deadline, forgetting
 * (DESIGN T5, T6, T7; txn/record.c).
 *
 * Home keeps the record, a participant a part. Messages are bits that stay set once sent: each may
 * arrive never, late, and again and again. Each group judges by its own log's time, which lags
 * behind the oracle's by any amount. An outcome is forgotten when the log's time is past the
 * deadline and KEPT more; at home, only once the participant has acknowledged.
 *
 * What must hold is in the assertions: one outcome; what a client was told is it; writes are applied
 * where and when the outcome says so, and once. Each BREAK_... takes one rule away (run.sh).
 */
#define DEADLINE 1
#define KEPT     1
#define TIME_MAX 4

mtype = { none, prepared, pending, committed, aborted, unknown };

byte now, home_time, part_time;
mtype record = none; /* at home; with home_forgettable it is an outcome row */
bool home_acknowledged;
mtype part = none;   /* prepared, or an outcome row */
byte home_applied, part_applied;

/* Ghosts. */
mtype outcome = none; /* the first decision that home's log took */
mtype told = none;    /* what the client was told */

/* Messages; requests stand for all their duplicates. */
bool one_group; /* the form, which never changes: all is written at home, by one request */
bool sent_prepare_home, sent_prepare_part, sent_commit, sent_commit_one, sent_abort;
bool voted_home, voted_part;
bool sent_inquire_late, sent_inquire_older;
bool says_committed, says_aborted; /* home to the participant: answers and resolutions */
bool sent_acknowledge;
bool answer_committed, answer_aborted, answer_unknown; /* of home to Commit */
bool answer_abort_done, answer_abort_done_late, answer_abort_exists;
bool gave_up; /* the client sends no Commit any more */

#define HOME_FORGETS (home_time > DEADLINE + KEPT)
#define PART_FORGETS (part_time > DEADLINE + KEPT)

inline home_decide(what)
{
    assert(outcome == none || outcome == what);
    outcome = what;
    record = what;
    if
    :: what == committed ->
        assert(told != aborted);
        home_applied++;
        assert(home_applied == 1)
    :: else
    fi
}

/* A row whose time is over counts as absent. A decided record is a row only once everybody knows. */
inline home_expire()
{
    if
#ifdef BREAK_FORGET_UNACKNOWLEDGED
    :: (record == committed || record == aborted) && HOME_FORGETS -> record = none
#else
    :: (record == committed || record == aborted) && HOME_FORGETS && home_acknowledged -> record = none
#endif
    :: else
    fi
}

inline part_expire()
{
    if
    :: (part == committed || part == aborted) && PART_FORGETS -> part = none
    :: else
    fi
}

proctype time()
{
    do
    :: atomic { now < TIME_MAX -> now++ }
    :: atomic { home_time < now -> home_time++ }
    :: atomic { part_time < now -> part_time++ }
    od
}

proctype home()
{
    do
    :: atomic { /* Prepare: the record is made with it */
        sent_prepare_home ->
        home_expire();
        if
        :: record == none && home_time <= DEADLINE -> record = pending; voted_home = true
#ifdef BREAK_DEADLINE
        :: record == none && home_time > DEADLINE -> record = pending; voted_home = true
#endif
        :: record == pending -> voted_home = true
        :: else /* refused, or answered from the row */
        fi
        }
    :: atomic { /* a whole transaction of one group */
        sent_commit_one ->
        home_expire();
        if
        :: record == none && home_time <= DEADLINE ->
            home_decide(committed);
            home_acknowledged = true; /* there is nobody to be told */
            answer_committed = true
        :: record == committed -> answer_committed = true
        :: record == aborted -> answer_aborted = true
        :: else /* refused */
        fi
        }
    :: atomic { /* Commit */
        sent_commit ->
        home_expire();
        if
        :: record == pending && home_time <= DEADLINE -> home_decide(committed); answer_committed = true
        :: record == pending && home_time > DEADLINE -> home_decide(aborted); answer_aborted = true
        :: record == committed -> answer_committed = true
        :: record == aborted -> answer_aborted = true
#ifdef BREAK_COMMIT_CREATES
        :: record == none -> home_decide(committed); answer_committed = true
#else
        :: record == none -> answer_unknown = true
#endif
        fi
        }
    :: atomic { /* Abort by the client: it settles what it knows nothing of */
        sent_abort ->
        home_expire();
        if
        :: record == pending -> home_decide(aborted)
        :: record == none ->
#ifndef BREAK_TOMBSTONE
            /* What may have been forgotten is not decided anew: only the row is made. */
            record = aborted;
            if
            :: outcome == none -> outcome = aborted
            :: else
            fi
#else
            skip
#endif
        :: else
        fi;
        if
        :: record == committed -> answer_abort_exists = true
#ifdef BREAK_SETTLE
        :: record != committed -> answer_abort_done = true
#else
        :: record != committed && !HOME_FORGETS -> answer_abort_done = true
        :: record != committed && HOME_FORGETS -> answer_abort_done_late = true
#endif
        fi
        }
    :: atomic { /* an inquiry past the deadline, or of an older transaction that has waited (T7) */
        sent_inquire_late || sent_inquire_older ->
        home_expire();
        if
        :: record == pending && (sent_inquire_older || home_time > DEADLINE) -> home_decide(aborted)
        :: record == none ->
#ifdef BREAK_INQUIRY_TOMBSTONE
            says_aborted = true
#else
            record = aborted;
            if
            :: outcome == none -> outcome = aborted
            :: else
            fi
#endif
        :: else
        fi;
        if
        :: record == committed -> says_committed = true
        :: record == aborted -> says_aborted = true
        :: else
        fi
        }
    :: atomic { record == committed -> says_committed = true } /* tells, until all have acknowledged */
    :: atomic { record == aborted && home_acknowledged == false -> says_aborted = true }
    :: atomic { sent_acknowledge -> home_acknowledged = true }
    od
}

proctype participant()
{
    do
    :: atomic {
        sent_prepare_part ->
        part_expire();
        if
        :: part == none && part_time <= DEADLINE -> part = prepared; voted_part = true
#ifdef BREAK_DEADLINE
        :: part == none && part_time > DEADLINE -> part = prepared; voted_part = true
#endif
        :: part == prepared -> voted_part = true
#ifdef BREAK_PREPARE_LOCKS_AGAIN
        :: part == committed -> part = prepared
#endif
        :: else
        fi
        }
    :: atomic { part == prepared && part_time > DEADLINE -> sent_inquire_late = true }
    :: atomic { part == prepared -> sent_inquire_older = true }
#ifdef BREAK_PARTICIPANT_DECIDES
    :: atomic { part == prepared && part_time > DEADLINE -> part = aborted; assert(outcome != committed) }
#endif
    :: atomic {
        says_committed ->
        part_expire();
        if
        :: part == prepared ->
            assert(outcome == committed);
            part = committed;
            part_applied++;
            assert(part_applied == 1)
        :: part == aborted -> assert(false) /* the other half was applied */
        :: else
        fi;
        sent_acknowledge = true
        }
    :: atomic {
        says_aborted ->
        part_expire();
        if
        :: part == prepared -> assert(outcome != committed || part_applied == 1); part = aborted
        :: else
        fi;
        sent_acknowledge = true
        }
    od
}

proctype client()
{
    if
    :: one_group = true
    :: one_group = false
    fi;
    do
    :: atomic { one_group -> sent_commit_one = true }
    :: atomic { !one_group && !gave_up -> sent_prepare_home = true }
    :: atomic { !one_group && !gave_up -> sent_prepare_part = true }
    :: atomic { !gave_up && voted_home && voted_part -> sent_commit = true }
    :: atomic { /* Commit was never sent: it is aborted for certain */
        !one_group && !gave_up && !sent_commit && told == none -> gave_up = true; sent_abort = true; told = aborted;
        assert(outcome != committed)
        }
    :: atomic { (sent_commit || sent_commit_one) && told == none -> sent_abort = true } /* settles */
    :: atomic { answer_committed && told == none -> told = committed; assert(outcome == committed) }
    :: atomic { answer_aborted && told == none -> told = aborted; assert(outcome == aborted) }
    :: atomic { (sent_commit || sent_commit_one) && answer_abort_done && told == none -> told = aborted; assert(outcome == aborted) }
    :: atomic { answer_abort_exists && told == none -> told = committed; assert(outcome == committed) }
    :: atomic { (answer_unknown || answer_abort_done_late) && told == none -> told = unknown }
    od
}

init
{
    atomic {
        run time();
        run home();
        run participant();
        run client()
    }
}
