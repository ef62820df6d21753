#include "tests/support/raft_solo.h"

#include "tests/support/raft_cluster.h"

#include <stdio.h>

void solo_init(struct solo *solo, uint32_t voters_count)
{
    struct raft_snapshot_meta meta = {0};
    *solo = (struct solo){.now_ns = NS_PER_S};
    cluster_configuration(voters_count, &meta.configuration);
    raft_options_default(&solo->options);
    solo->options.replica = 1;
    solo->options.seed = 7;
    raft_update_init(&solo->update);
    solo->raft = raft_new(&solo->options, &meta, 0, 0, NULL, 0, 0, solo->now_ns);
}

void solo_fini(struct solo *solo)
{
    raft_free(solo->raft);
    raft_update_fini(&solo->update);
}

int solo_step(struct solo *solo, struct raft_event *event)
{
    event->now_ns = solo->now_ns;
    raft_update_reset(&solo->update);
    int status = raft_step(solo->raft, event, &solo->update);
    if (solo->update.persist_id != 0)
        solo->persist_id_last = solo->update.persist_id;
    return status;
}

int solo_receive(struct solo *solo, const struct raft_message *message)
{
    struct raft_message copy = *message;
    struct raft_event event = {.type = RAFT_EV_MSG_RECEIVED, .message = &copy};
    copy.to = solo->options.replica;
    return solo_step(solo, &event);
}

int solo_event(struct solo *solo, enum raft_event_type type)
{
    struct raft_event event = {.type = type};
    return solo_step(solo, &event);
}

void solo_persisted(struct solo *solo, uint64_t persist_id)
{
    struct raft_event event = {.type = RAFT_EV_PERSISTED, .persist_id = persist_id};
    (void)solo_step(solo, &event);
}

void solo_persist_all(struct solo *solo)
{
    solo_persisted(solo, solo->persist_id_last);
}

int solo_propose(struct solo *solo, const char *payload)
{
    struct raft_event event = {.type = RAFT_EV_PROPOSED};
    event.propose.entry_type = RAFT_ENTRY_COMMAND;
    event.propose.payload = blob_copy(bytes_of_string(payload));
    int status = solo_step(solo, &event);
    blob_unref(event.propose.payload);
    return status;
}

void solo_wait_ms(struct solo *solo, uint64_t ms)
{
    solo->now_ns += ms * NS_PER_MS;
}

void solo_lead(struct solo *solo)
{
    const struct raft_configuration *configuration = raft_get_configuration(solo->raft);
    uint32_t count = configuration->members_count;
    replica_id_t last = count ? configuration->members[count - 1].replica : 0;
    struct raft_message answer = {.type = RAFT_MSG_PRE_VOTE_ANSWER};
    solo_wait_ms(solo, 2000);
    (void)solo_event(solo, RAFT_EV_TIMER_FIRED);
    answer.term = solo_status(solo).term + 1;
    for (answer.from = 2; answer.from <= last; answer.from++)
        (void)solo_receive(solo, &answer);
    solo_persist_all(solo);
    answer.type = RAFT_MSG_VOTE_ANSWER;
    for (answer.from = 2; answer.from <= last; answer.from++) {
        if (solo_status(solo).role != RAFT_LEADER)
            (void)solo_receive(solo, &answer);
    }
    ASSERT(solo_status(solo).role == RAFT_LEADER);
}

int solo_append(struct solo *solo, replica_id_t from, raft_term_t term, raft_index_t index,
                raft_term_t index_term, const raft_term_t *terms, uint32_t terms_count,
                raft_index_t commit_index)
{
    struct raft_entry entries[16] = {0};
    struct raft_message request = {
        .type = RAFT_MSG_APPEND_REQUEST,
        .from = from,
        .term = term,
        .index = index,
        .index_term = index_term,
        .commit_index = commit_index,
        .entries = entries,
        .entries_count = terms_count,
    };
    ASSERT(terms_count <= 16);
    for (uint32_t i = 0; i < terms_count; i++) {
        char text[64];
        snprintf(text, sizeof text, "%llu:%llu", (unsigned long long)terms[i],
                 (unsigned long long)(index + 1 + i));
        entries[i] = (struct raft_entry){
            .index = index + 1 + i,
            .term = terms[i],
            .log_timestamp = terms[i] * 1000 + index + 1 + i,
            .type = RAFT_ENTRY_COMMAND,
            .payload = blob_copy(bytes_of_string(text)),
        };
    }
    int status = solo_receive(solo, &request);
    for (uint32_t i = 0; i < terms_count; i++)
        blob_unref(entries[i].payload);
    return status;
}

int solo_answer(struct solo *solo, replica_id_t from, raft_index_t match_index)
{
    struct raft_message answer = {
        .type = RAFT_MSG_APPEND_ANSWER,
        .from = from,
        .term = solo_status(solo).term,
        .index = match_index,
    };
    return solo_receive(solo, &answer);
}

struct raft_status solo_status(const struct solo *solo)
{
    struct raft_status status;
    raft_get_status(solo->raft, &status);
    return status;
}

const struct raft_message *solo_sent(const struct solo *solo, enum raft_message_type type,
                                     replica_id_t to)
{
    const struct raft_message *found = NULL;
    for (uint32_t i = 0; i < solo->update.messages_count; i++) {
        const struct raft_message *message = &solo->update.messages[i];
        if (message->type != type || (to != 0 && message->to != to))
            continue;
        ASSERT(!found || to == 0);
        found = message;
    }
    return found;
}
