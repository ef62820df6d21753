/* coordinator.c: what a step decides: the states, what an answer means in each, and the ends. */
#include "txn/coordinator_internal.h"

#include "base/memory.h"
#include "base/sometimes.h"

#include <stdlib.h>

/* Row: from; column: to. UNKNOWN goes back to where it came from. */
static const bool MOVE_IS_ALLOWED[8][8] = {
    /*                GROW   PREP   COMMG  SETTL  VALID  COMMD  ABORT  UNKN */
    /* GROWING    */ {false, true, false, false, true, true, true, false},
    /* PREPARING  */ {false, false, true, true, false, true, true, true},
    /* COMMITTING */ {false, false, false, true, false, true, true, true},
    /* SETTLING   */ {false, false, false, false, false, true, true, true},
    /* VALIDATING */ {false, false, false, false, false, true, true, false},
    /* COMMITTED  */ {false, false, false, false, false, false, false, false},
    /* ABORTED    */ {false, false, false, false, false, false, false, false},
    /* UNKNOWN    */ {false, true, true, true, false, false, true, false},
};

void coordinator_update_init(struct coordinator_update *update)
{
    *update = (struct coordinator_update){.deadline_ns = NS_NEVER};
}

void coordinator_update_reset(struct coordinator_update *update)
{
    update->send_count = 0;
    update->drop_count = 0;
    update->heartbeat_count = 0;
    update->finished = false;
    update->deadline_ns = NS_NEVER;
}

void coordinator_update_fini(struct coordinator_update *update)
{
    free(update->send);
    free(update->drop);
    free(update->heartbeat);
    coordinator_update_init(update);
}

static void slots_add(uint32_t **slots, uint32_t *count, uint32_t *capacity, uint32_t slot)
{
    if (*count == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 8;
        *slots = memory_realloc(*slots, *capacity * sizeof(**slots));
    }
    (*slots)[(*count)++] = slot;
}

static void slot_send(struct coordinator *coordinator, uint32_t slot,
                      enum coordinator_request request, struct coordinator_update *update)
{
    coordinator->members[slot].request = request;
    slots_add(&update->send, &update->send_count, &update->send_capacity, slot);
}

static void slot_end(struct coordinator *coordinator, uint32_t slot,
                     struct coordinator_update *update)
{
    if (coordinator->members[slot].request == REQUEST_NONE)
        return;
    coordinator->members[slot].request = REQUEST_NONE;
    slots_add(&update->drop, &update->drop_count, &update->drop_capacity, slot);
}

static void coordinator_move(struct coordinator *coordinator, enum coordinator_state state)
{
    ASSERT(MOVE_IS_ALLOWED[coordinator->state][state]);
    coordinator->state = state;
}

struct coordinator *coordinator_new(coordinator_route_fn route, void *route_context)
{
    struct coordinator *coordinator = memory_alloc_zeroed(1, sizeof(*coordinator));
    coordinator->route = route;
    coordinator->route_context = route_context;
    arena_init(&coordinator->arena);
    write_buffer_init(&coordinator->writes);
    coordinator->heartbeat_ns = NS_NEVER;
    return coordinator;
}

void coordinator_free(struct coordinator *coordinator)
{
    if (!coordinator)
        return;
    write_buffer_reset(&coordinator->writes);
    arena_fini(&coordinator->arena);
    for (uint32_t slot = 0; slot < coordinator->members_capacity; slot++) {
        buffer_fini(&coordinator->members[slot].write_set);
        free(coordinator->members[slot].touched);
        free(coordinator->members[slot].reads);
    }
    free(coordinator->members);
    free(coordinator->asked);
    free(coordinator);
}

void coordinator_reset(struct coordinator *coordinator)
{
    write_buffer_reset(&coordinator->writes);
    arena_reset(&coordinator->arena);
    coordinator->id = (struct txn_id){0};
    coordinator->state = COORDINATOR_GROWING;
    coordinator->anchor = bytes_of(NULL, 0);
    coordinator->is_optimistic = false;
    coordinator->reads_count = 0;
    coordinator->members_count = 0;
    coordinator->asked_count = 0;
    coordinator->home = 0;
    coordinator->one_group = false;
    coordinator->was_unknown = false;
    coordinator->deadline = 0;
    coordinator->commit_timestamp = 0;
    coordinator->reason = (struct coordinator_reason){0};
    coordinator->heartbeat_ns = NS_NEVER;
    coordinator->wait_ms_max = 0;
}

void coordinator_set_wait(struct coordinator *coordinator, uint32_t wait_ms_max)
{
    coordinator->wait_ms_max = wait_ms_max;
}

void coordinator_identify(struct coordinator *coordinator, struct txn_id id,
                          const struct txn_age *age)
{
    coordinator->id = id;
    coordinator->age = *age;
}

void coordinator_set_optimistic(struct coordinator *coordinator, bool is_optimistic)
{
    ASSERT(coordinator->state == COORDINATOR_GROWING && coordinator->members_count == 0);
    coordinator->is_optimistic = is_optimistic;
}

bool coordinator_is_optimistic(const struct coordinator *coordinator)
{
    return coordinator->is_optimistic;
}

struct txn_id coordinator_id(const struct coordinator *coordinator)
{
    return coordinator->id;
}

const struct txn_age *coordinator_age(const struct coordinator *coordinator)
{
    return &coordinator->age;
}

int coordinator_write(struct coordinator *coordinator, const struct write *write,
                      const char **out_why)
{
    if (coordinator->state != COORDINATOR_GROWING) {
        *out_why = "the transaction does not grow any more";
        return coordinator->state == COORDINATOR_ABORTED ? coordinator->reason.status
                                                         : OST_TXN_FINISHED;
    }
    int status = write_buffer_put(&coordinator->writes, write, out_why);
    if (status == OST_OK && coordinator->anchor.bytes_count == 0)
        coordinator->anchor = arena_copy(&coordinator->arena, write->key);
    return status;
}

const struct write_buffer *coordinator_writes(const struct coordinator *coordinator)
{
    return &coordinator->writes;
}

enum coordinator_state coordinator_state(const struct coordinator *coordinator)
{
    return coordinator->state;
}

int coordinator_status(const struct coordinator *coordinator)
{
    if (coordinator->state == COORDINATOR_ABORTED)
        return coordinator->reason.status;
    return coordinator->state == COORDINATOR_UNKNOWN ? OST_MAYBE_COMMITTED : OST_OK;
}

timestamp_t coordinator_commit_timestamp(const struct coordinator *coordinator)
{
    return coordinator->state == COORDINATOR_COMMITTED ? coordinator->commit_timestamp : 0;
}

uint32_t coordinator_groups_count(const struct coordinator *coordinator)
{
    return coordinator->members_count;
}

const struct coordinator_reason *coordinator_reason(const struct coordinator *coordinator)
{
    return &coordinator->reason;
}

bool coordinator_is_done(const struct coordinator *coordinator)
{
    if (coordinator->state != COORDINATOR_COMMITTED && coordinator->state != COORDINATOR_ABORTED)
        return false;
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++) {
        if (coordinator->members[slot].request != REQUEST_NONE)
            return false;
    }
    return true;
}

bool coordinator_slot_is_background(const struct coordinator *coordinator, uint32_t slot)
{
    (void)slot;
    return coordinator->state == COORDINATOR_COMMITTED || coordinator->state == COORDINATOR_ABORTED;
}

/* --- Ends ----------------------------------------------------------------------------------------
 */

static void reason_set(struct coordinator *coordinator, int status,
                       const Ostraka__AnswerHeader *header, const char *text)
{
    struct coordinator_reason *reason = &coordinator->reason;
    *reason = (struct coordinator_reason){.status = status, .text = text};
    if (!header)
        return;
    reason->key = arena_copy(&coordinator->arena, bytes_of(header->key.data, header->key.len));
    reason->other = txn_id_of_message(header->other);
    reason->other_age = txn_age_of_message(header->other_age);
    reason->waited_ms = header->waited_ms;
    reason->loss = (enum participant_loss)header->loss;
    if (header->text && header->text[0])
        reason->text = arena_printf(&coordinator->arena, "%s", header->text);
}

static void finish(struct coordinator *coordinator, enum coordinator_state state,
                   struct coordinator_update *update)
{
    coordinator_move(coordinator, state);
    coordinator->heartbeat_ns = NS_NEVER;
    update->finished = true;
}

static void release_locks(struct coordinator *coordinator, uint32_t slot,
                          struct coordinator_update *update)
{
    struct coordinator_member *member = &coordinator->members[slot];
    /* A Prepare that is under way may hold or wait for locks, with or without an entry. */
    if (member->entry.term != 0 || member->request == REQUEST_PREPARE || member->voted ||
        member->asked_only)
        slot_send(coordinator, slot, REQUEST_RELEASE, update);
    else
        slot_end(coordinator, slot, update);
}

/* C1: the caller knows that nothing was or will be committed; `coordinator->reason` tells why. */
static void abort_now(struct coordinator *coordinator, struct coordinator_update *update)
{
    enum coordinator_state from = coordinator->state;
    bool may_be_prepared = from == COORDINATOR_PREPARING && !coordinator->one_group;
    if (from == COORDINATOR_GROWING || from == COORDINATOR_PREPARING)
        coordinator_members_add_asked(coordinator);
    finish(coordinator, COORDINATOR_ABORTED, update);
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++) {
        /* A tombstone at home: a Prepare that comes late meets it. */
        if (may_be_prepared && slot == coordinator->home)
            slot_send(coordinator, slot, REQUEST_ABORT, update);
        else if (from == COORDINATOR_COMMITTING || from == COORDINATOR_SETTLING)
            slot_end(coordinator, slot, update); /* home knows, and tells the others */
        else
            release_locks(coordinator, slot, update);
    }
}

static void committed(struct coordinator *coordinator, timestamp_t timestamp,
                      struct coordinator_update *update)
{
    bool validated = coordinator->state == COORDINATOR_VALIDATING;
    coordinator->commit_timestamp = timestamp;
    coordinator->reason = (struct coordinator_reason){0};
    finish(coordinator, COORDINATOR_COMMITTED, update);
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++) {
        if (validated)
            release_locks(coordinator, slot, update);
        else
            slot_end(coordinator, slot, update);
    }
}

static void unknown(struct coordinator *coordinator, const Ostraka__AnswerHeader *header,
                    const char *text, struct coordinator_update *update)
{
    coordinator->resume_state = coordinator->state;
    coordinator->was_unknown = true;
    if (coordinator->state != COORDINATOR_SETTLING)
        reason_set(coordinator, OST_MAYBE_COMMITTED, header, text);
    slot_end(coordinator, coordinator->home, update);
    finish(coordinator, COORDINATOR_UNKNOWN, update);
}

static void settle(struct coordinator *coordinator, struct coordinator_update *update)
{
    coordinator_move(coordinator, COORDINATOR_SETTLING);
    coordinator->heartbeat_ns = NS_NEVER;
    slot_send(coordinator, coordinator->home, REQUEST_ABORT, update);
}

/* --- Committing ----------------------------------------------------------------------------------
 */

/* Whoever is silent for long counts as dead, and what it has prepared is aborted (recovery.h). */
static void heartbeats_go_on(struct coordinator *coordinator, nanoseconds_t now_ns)
{
    bool is_needed = coordinator->state == COORDINATOR_GROWING ||
                     coordinator->state == COORDINATOR_COMMITTING ||
                     (coordinator->state == COORDINATOR_PREPARING && !coordinator->one_group);
    coordinator->heartbeat_ns =
        is_needed ? now_ns + COORDINATOR_HEARTBEAT_MS * NS_PER_MS : NS_NEVER;
}

static void commit_asked(struct coordinator *coordinator, const struct coordinator_event *event,
                         struct coordinator_update *update)
{
    if (coordinator->state == COORDINATOR_UNKNOWN) {
        /* C1: the answer may come when home has forgotten the outcome, and what is forgotten looks
         * like what never was. (A Commit is told that much.) */
        timestamp_t kept = coordinator->deadline + timestamp_from_ms(OUTCOME_KEPT_MS);
        if (coordinator->resume_state != COORDINATOR_COMMITTING && event->deadline > kept) {
            update->finished = true;
            return;
        }
        enum coordinator_request request = REQUEST_PREPARE;
        if (coordinator->resume_state == COORDINATOR_COMMITTING)
            request = REQUEST_COMMIT;
        else if (coordinator->resume_state == COORDINATOR_SETTLING)
            request = REQUEST_ABORT;
        coordinator_move(coordinator, coordinator->resume_state);
        heartbeats_go_on(coordinator, event->now_ns);
        slot_send(coordinator, coordinator->home, request, update);
        return;
    }
    ASSERT(coordinator->state == COORDINATOR_GROWING);
    coordinator->heartbeat_ns = NS_NEVER;
    coordinator->deadline = event->deadline;
    bool is_one_read = coordinator->is_optimistic && coordinator->reads_count == 1;
    coordinator_reads_order(coordinator);
    if (coordinator->anchor.bytes_count == 0) {
        if (coordinator->members_count == 0 || is_one_read) {
            committed(coordinator, 0, update);
            return;
        }
        coordinator_move(coordinator, COORDINATOR_VALIDATING);
        for (uint32_t slot = 0; slot < coordinator->members_count; slot++)
            slot_send(coordinator, slot, REQUEST_VALIDATE, update);
        return;
    }
    coordinator_members_refresh(coordinator);
    if (!coordinator_writes_assign(coordinator)) {
        reason_set(coordinator, OST_NOT_READY, NULL, "there is no map yet");
        abort_now(coordinator, update);
        return;
    }
    coordinator->one_group = coordinator->members_count == 1 && !RARE(TWO_PHASES_IN_ONE_GROUP);
    coordinator_move(coordinator, COORDINATOR_PREPARING);
    heartbeats_go_on(coordinator, event->now_ns);
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++)
        slot_send(coordinator, slot, REQUEST_PREPARE, update);
}

/* May another try of the one-group commit have been done, or be done yet? */
static bool is_in_doubt(const struct coordinator *coordinator,
                        const struct coordinator_event *event)
{
    return coordinator->one_group && (event->in_doubt || coordinator->was_unknown);
}

/* T5, by the time that the refusal tells: the group has asked the oracle for it. */
static bool deadline_was_too_far(const struct coordinator *coordinator,
                                 const struct coordinator_event *event, int status)
{
    return status == OST_INVALID_ARGUMENT &&
           coordinator->deadline >
               event->header->heard_timestamp + timestamp_from_ms(DEADLINE_AHEAD_MS);
}

static void prepare_answered(struct coordinator *coordinator, const struct coordinator_event *event,
                             int status, struct coordinator_update *update)
{
    struct coordinator_member *member = &coordinator->members[event->slot];
    if (status != OST_OK) {
        /* The deadline is the client's estimate, so the fault is not its caller's. */
        bool was_too_far = deadline_was_too_far(coordinator, event, status);
        reason_set(coordinator, was_too_far ? OST_ABORTED : status, event->header, NULL);
        /* Of a one-group commit an earlier try may be done yet, unless the answer is an outcome out
         * of the log. That the deadline has passed may also be said by a store that has lost its
         * leadership and does not know yet. */
        if (is_in_doubt(coordinator, event) && status != OST_ABORTED) {
            settle(coordinator, update);
            return;
        }
        if (status == OST_WOUNDED || status == OST_LOCKS_LOST)
            member->entry = (struct lock_entry_number){0};
        member->request = REQUEST_NONE;
        abort_now(coordinator, update);
        return;
    }
    member->request = REQUEST_NONE;
    if (coordinator->one_group) {
        committed(coordinator, event->timestamp, update);
        return;
    }
    member->voted = true;
    if (event->timestamp > coordinator->commit_timestamp)
        coordinator->commit_timestamp = event->timestamp;
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++) {
        if (!coordinator->members[slot].voted)
            return;
    }
    coordinator_move(coordinator, COORDINATOR_COMMITTING); /* C2 */
    slot_send(coordinator, coordinator->home, REQUEST_COMMIT, update);
}

static void commit_answered(struct coordinator *coordinator, const struct coordinator_event *event,
                            int status, struct coordinator_update *update)
{
    coordinator->members[event->slot].request = REQUEST_NONE;
    if (status == OST_OK) {
        committed(coordinator, event->timestamp ? event->timestamp : coordinator->commit_timestamp,
                  update);
    } else if (status == OST_ABORTED) {
        reason_set(coordinator, status, event->header, NULL);
        abort_now(coordinator, update);
    } else if (status == OST_UNKNOWN_TXN) {
        /* T6: home had its record; it was forgotten, which comes after the deadline and a minute.
         */
        unknown(coordinator, event->header, "home does not know the transaction any more", update);
    } else {
        reason_set(coordinator, status, event->header, NULL);
        settle(coordinator, update);
    }
}

static void settle_answered(struct coordinator *coordinator, const struct coordinator_event *event,
                            int status, struct coordinator_update *update)
{
    coordinator->members[event->slot].request = REQUEST_NONE;
    /* By the time that the answerer has heard of, home may have forgotten the outcome (T6): then
     * the abort went into the void, and shows nothing. The client's own estimate of the time, by
     * which it asks again or not, is behind when the oracle's has leapt. */
    timestamp_t kept = coordinator->deadline + timestamp_from_ms(OUTCOME_KEPT_MS);
    if (status == OST_EXISTS)
        committed(coordinator, event->timestamp, update);
    else if (event->header && event->header->heard_timestamp > kept)
        unknown(coordinator, event->header, "home may have forgotten the outcome", update);
    else if (status == OST_OK || status == OST_ABORTED || status == OST_DEADLINE_EXCEEDED)
        abort_now(coordinator, update); /* with the reason of the refusal that led here */
    else
        unknown(coordinator, event->header, NULL, update);
}

static void validate_answered(struct coordinator *coordinator,
                              const struct coordinator_event *event, int status,
                              struct coordinator_update *update)
{
    struct coordinator_member *member = &coordinator->members[event->slot];
    member->request = REQUEST_NONE;
    if (status != OST_OK) {
        reason_set(coordinator, status, event->header, NULL);
        if (status == OST_WOUNDED || status == OST_LOCKS_LOST)
            member->entry = (struct lock_entry_number){0};
        abort_now(coordinator, update);
        return;
    }
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++) {
        if (coordinator->members[slot].request != REQUEST_NONE)
            return;
    }
    committed(coordinator, 0, update);
}

static void answered(struct coordinator *coordinator, const struct coordinator_event *event,
                     struct coordinator_update *update)
{
    struct coordinator_member *member = &coordinator->members[event->slot];
    int status = event->header ? event->header->status : OST_OK;
    if (coordinator_slot_is_background(coordinator, event->slot)) {
        member->request = REQUEST_NONE;
        return;
    }
    switch (member->request) {
    case REQUEST_PREPARE:
        prepare_answered(coordinator, event, status, update);
        break;
    case REQUEST_COMMIT:
        commit_answered(coordinator, event, status, update);
        break;
    case REQUEST_ABORT:
        settle_answered(coordinator, event, status, update);
        break;
    case REQUEST_VALIDATE:
        validate_answered(coordinator, event, status, update);
        break;
    case REQUEST_RELEASE:
    case REQUEST_NONE:
        break;
    }
}

static void reroute(struct coordinator *coordinator, const struct coordinator_event *event,
                    struct coordinator_update *update)
{
    struct coordinator_member *member = &coordinator->members[event->slot];
    if (member->request == REQUEST_NONE)
        return;
    if (coordinator_slot_is_background(coordinator, event->slot) &&
        member->request == REQUEST_RELEASE) {
        slot_end(coordinator, event->slot, update); /* the locks did not move with the range */
        return;
    }
    if (member->request == REQUEST_VALIDATE) {
        reason_set(coordinator, coordinator->is_optimistic ? OST_RANGE_MOVED : OST_LOCKS_LOST,
                   event->header, "a range moved");
        coordinator->reason.loss = LOSS_RANGE_MOVES;
        member->request = REQUEST_NONE;
        abort_now(coordinator, update);
        return;
    }
    if (member->request == REQUEST_PREPARE) {
        coordinator_member_retouch(coordinator, event->slot);
        if (!coordinator_member_reroute(coordinator, event->slot)) {
            reason_set(coordinator, OST_RANGE_MOVED, event->header,
                       "ranges moved between groups while it committed");
            if (is_in_doubt(coordinator, event))
                settle(coordinator, update);
            else
                abort_now(coordinator, update);
            return;
        }
    }
    slot_send(coordinator, event->slot, member->request, update);
}

static void gave_up(struct coordinator *coordinator, const struct coordinator_event *event,
                    struct coordinator_update *update)
{
    struct coordinator_member *member = &coordinator->members[event->slot];
    if (member->request == REQUEST_NONE)
        return;
    if (coordinator_slot_is_background(coordinator, event->slot)) {
        slot_end(coordinator, event->slot, update);
        return;
    }
    bool nothing_asked_that_commits =
        coordinator->state == COORDINATOR_VALIDATING ||
        (coordinator->state == COORDINATOR_PREPARING && !coordinator->one_group);
    if (nothing_asked_that_commits) {
        reason_set(coordinator, OST_DEADLINE_EXCEEDED, event->header,
                   "a group did not answer before the deadline");
        abort_now(coordinator, update);
        return;
    }
    unknown(coordinator, event->header, "home did not answer before the deadline", update);
}

/* --- Growing -------------------------------------------------------------------------------------
 */

static void locks_gone(struct coordinator *coordinator, group_id_t group, int status,
                       const Ostraka__AnswerHeader *header, struct coordinator_update *update)
{
    reason_set(coordinator, status, header, NULL);
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++) {
        if (coordinator->members[slot].group == group)
            coordinator->members[slot].entry = (struct lock_entry_number){0};
    }
    abort_now(coordinator, update);
    update->finished = false; /* no commit was asked for */
}

/* Its answer needs no entry: nothing is held. */
static void optimistic_read_answered(struct coordinator *coordinator,
                                     const struct coordinator_event *event,
                                     struct coordinator_update *update)
{
    struct coordinator_member *member = coordinator_member_find_or_add(coordinator, event->group);
    const char *why = coordinator_read_note(coordinator, member, &event->read, event->timestamp);
    if (why) {
        reason_set(coordinator, OST_TOO_LARGE, NULL, why);
        abort_now(coordinator, update);
        update->finished = false; /* no commit was asked for */
        return;
    }
    struct coordinator_route route;
    struct bytes range_start = event->read.start;
    if (coordinator->route(coordinator->route_context, event->read.start, &route))
        range_start = route.range_start;
    coordinator_member_touch(coordinator, member, event->read.start, range_start);
}

static void read_answered(struct coordinator *coordinator, const struct coordinator_event *event,
                          struct coordinator_update *update)
{
    if (coordinator->state != COORDINATOR_GROWING)
        return;
    int status = event->header ? event->header->status : OST_OK;
    if (status == OST_LOCKS_LOST || status == OST_WOUNDED || status == OST_ABORTED) {
        locks_gone(coordinator, event->group, status, event->header, update);
        return;
    }
    if (status != OST_OK) { /* the entry, if there is one, stands: only this read failed */
        reason_set(coordinator, status, event->header, NULL);
        return;
    }
    if (coordinator->is_optimistic) {
        optimistic_read_answered(coordinator, event, update);
        return;
    }
    struct coordinator_member *member = coordinator_member_find_or_add(coordinator, event->group);
    bool same =
        member->entry.term == event->entry.term && member->entry.counter == event->entry.counter;
    if (event->entry.term == 0 || (member->entry.term != 0 && !same)) {
        /* T1: locks under two numbers: those under the first are gone. */
        bool is_led_anew = member->entry.term != 0 && member->entry.term != event->entry.term;
        locks_gone(coordinator, event->group, OST_LOCKS_LOST, event->header, update);
        if (is_led_anew)
            coordinator->reason.loss = LOSS_LEADER_CHANGED;
        return;
    }
    if (coordinator->heartbeat_ns == NS_NEVER)
        heartbeats_go_on(coordinator, event->now_ns);
    member->entry = event->entry;
    struct coordinator_route route;
    struct bytes range_start = event->key;
    if (coordinator->route(coordinator->route_context, event->key, &route))
        range_start = route.range_start;
    coordinator_member_touch(coordinator, member, event->key, range_start);
}

static void rollback_asked(struct coordinator *coordinator, struct coordinator_update *update)
{
    switch (coordinator->state) {
    case COORDINATOR_GROWING:
    case COORDINATOR_VALIDATING:
        break;
    case COORDINATOR_PREPARING:
        if (!coordinator->one_group)
            break;
        unknown(coordinator, NULL, "rolled back while it committed", update);
        return;
    case COORDINATOR_COMMITTING:
    case COORDINATOR_SETTLING:
        unknown(coordinator, NULL, "rolled back while it committed", update);
        return;
    case COORDINATOR_COMMITTED:
    case COORDINATOR_ABORTED:
    case COORDINATOR_UNKNOWN:
        return;
    }
    reason_set(coordinator, OST_CANCELED, NULL, "rolled back");
    abort_now(coordinator, update);
}

static void heartbeats_send(struct coordinator *coordinator, nanoseconds_t now_ns,
                            struct coordinator_update *update)
{
    if (now_ns < coordinator->heartbeat_ns)
        return;
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++)
        slots_add(&update->heartbeat, &update->heartbeat_count, &update->heartbeat_capacity, slot);
    heartbeats_go_on(coordinator, now_ns);
}

void coordinator_step(struct coordinator *coordinator, const struct coordinator_event *event,
                      struct coordinator_update *update)
{
    switch (event->type) {
    case COORDINATOR_EV_READ_ANSWERED:
        read_answered(coordinator, event, update);
        break;
    case COORDINATOR_EV_COMMIT_ASKED:
        commit_asked(coordinator, event, update);
        break;
    case COORDINATOR_EV_ANSWERED:
        answered(coordinator, event, update);
        break;
    case COORDINATOR_EV_REROUTE:
        reroute(coordinator, event, update);
        break;
    case COORDINATOR_EV_GAVE_UP:
        gave_up(coordinator, event, update);
        break;
    case COORDINATOR_EV_LOCKS_GONE:
        if (coordinator->state == COORDINATOR_GROWING)
            locks_gone(coordinator, event->group,
                       event->header ? event->header->status : OST_LOCKS_LOST, event->header,
                       update);
        break;
    case COORDINATOR_EV_ROLLBACK_ASKED:
        rollback_asked(coordinator, update);
        break;
    case COORDINATOR_EV_TIMER:
        heartbeats_send(coordinator, event->now_ns, update);
        break;
    }
    update->deadline_ns = coordinator->heartbeat_ns;
}
