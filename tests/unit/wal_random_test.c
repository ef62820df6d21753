/* The log under random operations against the simplest reference: per group an array of (term,
 * bytes). Crashes come at random; the write under way is then lost, torn or whole. With rot, bytes
 * and blocks of durable writes change at a crash: then each group either has all that was durable,
 * or is damaged. Not those of the last durable write, which nobody can tell from a torn one. */
#include "base/memory.h"
#include "base/random.h"
#include "tests/support/wal_disk.h"

#include <criterion/criterion.h>
#include <stdlib.h>

TestSuite(wal_random, .timeout = 120);

#define MODEL_GROUPS      5u
#define MODEL_ENTRIES     4000u
#define MODEL_HISTORY_MAX 512u

struct model_group {
    bool destroyed;
    bool fresh; /* a new replica that has said nothing: the one before it may be found destroyed */
    replica_id_t replica;
    raft_term_t term;
    replica_id_t vote;
    raft_index_t begin;
    raft_index_t last;
    raft_term_t terms[MODEL_ENTRIES];
    uint32_t bytes[MODEL_ENTRIES];
};

struct model {
    struct wal_disk *disk;
    struct random random;
    struct wal_group *handles[MODEL_GROUPS];
    bool rots;
    size_t damaged_count, whole_count; /* groups found after a rot */
    struct wal_disk_place writes[8192];
    size_t writes_count;
    struct model_group
        *history[MODEL_GROUPS]; /* state after unit i of this life; 0: at its start */
    size_t history_count[MODEL_GROUPS];
};

static bool model_equals(const struct model *model, uint32_t group, const struct model_group *want)
{
    struct wal_group_state state = {0};
    bool known = wal_group_get(model->disk->wal, group, &state);
    if (want->fresh && (!known || (state.destroyed && state.replica < want->replica)))
        return true;
    if (known && (state.replica != want->replica || state.destroyed != want->destroyed))
        return false;
    if (want->destroyed)
        return known;
    if (state.term != want->term || state.vote != want->vote)
        return false;
    /* Where a log without entries begins may be forgotten: the state machine knows it. */
    if (want->begin == want->last && !state.begin_known)
        return true;
    if (state.last_index != want->last)
        return false;
    for (raft_index_t i = want->begin + 1; i <= want->last; i++) {
        const struct raft_entry *entry = wal_group_entry(model->disk->wal, group, i);
        if (!entry || entry->term != want->terms[i] ||
            blob_bytes(entry->payload).bytes_count != want->bytes[i])
            return false;
        struct raft_entry expected = wal_disk_entry(i, want->terms[i], want->bytes[i]);
        bool equal = bytes_equal(blob_bytes(entry->payload), blob_bytes(expected.payload));
        blob_unref(expected.payload);
        if (!equal)
            return false;
    }
    return true;
}

static void model_persist(struct model *model, uint32_t group)
{
    struct model_group *now = &model->history[group][model->history_count[group]];
    *now = now[-1];
    now->fresh = false;
    struct raft_entry entries[6];
    struct wal_unit_request request = {.entries = entries};
    if (random_below(&model->random, 4) == 0) {
        now->term++;
        now->vote = random_below(&model->random, 3);
        request.hard_state_changed = true;
    } else if (now->term == 0) {
        now->term = 1;
        request.hard_state_changed = true;
    }
    request.term = now->term;
    request.vote = now->vote;
    if (random_below(&model->random, 40) == 0) {
        now->last += 5;
        now->begin = now->last;
        request.log_reset = true;
        request.reset_index = now->last;
        request.reset_term = now->term;
    }
    raft_index_t index = now->last + 1;
    if (now->last > now->begin && random_below(&model->random, 5) == 0)
        index -= random_below(&model->random, now->last - now->begin);
    request.entries_count = (uint32_t)random_below(&model->random, 7);
    for (uint32_t i = 0; i < request.entries_count; i++, index++) {
        cr_assert_lt(index, MODEL_ENTRIES);
        uint32_t bytes = (uint32_t)random_below(
            &model->random, random_below(&model->random, 30) == 0 ? 60000 : 800);
        entries[i] = wal_disk_entry(index, now->term, bytes);
        now->terms[index] = now->term;
        now->bytes[index] = bytes;
        now->last = index;
    }
    request.persist_id = model->history_count[group]++;
    wal_persist(model->disk->wal, model->handles[group], &request);
    for (uint32_t i = 0; i < request.entries_count; i++)
        blob_unref(entries[i].payload);
}

static void model_cut(struct model *model, uint32_t group)
{
    /* As far as all states that may yet be found agree. */
    struct model_group *durable = &model->history[group][model->disk->durable[group]];
    raft_index_t upto = durable->last;
    raft_index_t begin = durable->begin;
    for (size_t i = model->disk->durable[group]; i < model->history_count[group]; i++) {
        struct model_group *state = &model->history[group][i];
        for (raft_index_t at = begin + 1; at <= upto; at++) {
            if (at > state->last || at <= state->begin || state->terms[at] != durable->terms[at])
                upto = at - 1;
        }
    }
    if (upto <= begin)
        return;
    raft_index_t cut = begin + 1 + random_below(&model->random, upto - begin);
    for (size_t i = model->disk->durable[group]; i < model->history_count[group]; i++)
        if (model->history[group][i].begin < cut)
            model->history[group][i].begin = cut;
    wal_cut(model->disk->wal, model->handles[group], cut);
    if (random_below(&model->random, 2) == 0)
        wal_maintain(model->disk->wal);
}

static void model_destroy(struct model *model, uint32_t group)
{
    struct model_group *now = &model->history[group][model->history_count[group]];
    *now = (struct model_group){.destroyed = true, .replica = now[-1].replica};
    wal_destroy(model->disk->wal, group, now->replica, &model->disk->durable[group],
                model->history_count[group]++);
}

/* A new life for a group: what is found of it, or after its end the next replica. */
static void model_begin(struct model *model, uint32_t group, struct model_group state)
{
    if (state.destroyed)
        state = (struct model_group){.fresh = true, .replica = state.replica + 1};
    model->history[group][0] = state;
    model->history_count[group] = 1;
    model->disk->durable[group] = 0;
    model->handles[group] =
        wal_group_claim(model->disk->wal, group, state.replica, &model->disk->durable[group]);
}

static void model_rot(struct model *model)
{
    /* The write under way, if any, is the last; the one before it is the last durable one. */
    size_t spared = model->disk->writing ? 2 : 1;
    uint64_t count = random_below(&model->random, 4);
    for (uint64_t i = 0; i < count && model->writes_count > spared; i++) {
        uint64_t back = spared + random_below(&model->random, 30);
        if (back >= model->writes_count)
            continue;
        const struct wal_disk_place *place = &model->writes[model->writes_count - 1 - back];
        uint8_t *segment = model->disk->segments[place->segment];
        if (!segment)
            continue; /* retired */
        uint8_t *at = segment + place->offset + random_below(&model->random, place->bytes_count);
        uint8_t *block = segment + ((uintptr_t)(at - segment) & ~(uintptr_t)(WAL_BLOCK_BYTES - 1));
        switch (random_below(&model->random, 4)) {
        case 0:
            *at ^= (uint8_t)(1u << random_below(&model->random, 8));
            break;
        case 1:
            memset(segment + ((uintptr_t)(at - segment) & ~(uintptr_t)511), 0, 512);
            break;
        case 2:
            memset(block, 0, WAL_BLOCK_BYTES);
            break;
        case 3: /* the header, whose length then leads astray */
            segment[place->offset + random_below(&model->random, 88)] ^= 0x11;
            break;
        }
    }
}

/* Is the group what it should be, or known not to be? It then ends, and begins anew. */
static void model_recovered(struct model *model, uint32_t group, size_t durable, uint64_t seed)
{
    size_t i = durable;
    if (wal_disk_is_damaged(model->disk, group)) {
        cr_assert(model->rots, "seed %lu: group %u is damaged by nothing", seed, group);
        model->damaged_count++;
        struct model_group state = model->history[group][model->history_count[group] - 1];
        wal_destroy(model->disk->wal, group, state.replica, NULL, 0);
        state.destroyed = true;
        while (wal_disk_step(model->disk, false))
            ;
        model_begin(model, group, state);
        return;
    }
    while (i < model->history_count[group] &&
           !model_equals(model, group, &model->history[group][i]))
        i++;
    cr_assert_lt(i, model->history_count[group],
                 "seed %lu: group %u is in no state between durable and written", seed, group);
    model->whole_count += model->disk->why[0] != 0;
    model_begin(model, group, model->history[group][i]);
}

static void model_crash(struct model *model, uint64_t seed)
{
    struct wal_disk *disk = model->disk;
    uint64_t durable[16];
    if (model->rots)
        model_rot(model);
    if (disk->writing) {
        uint8_t *at = disk->segments[disk->last_segment] + disk->last_offset;
        for (size_t i = 0; i < disk->last_bytes_count; i += WAL_BLOCK_BYTES) {
            if (random_below(&model->random, 3) == 0)
                memset(at + i, (int)random_below(&model->random, 2) * 0xa5, WAL_BLOCK_BYTES);
        }
    }
    /* It is the last, whole or not. */
    model->writes_count -= disk->writing && model->writes_count > 0;
    memcpy(durable, disk->durable, sizeof(durable));
    cr_assert_eq(wal_disk_recover(disk), OST_OK);
    cr_assert(model->rots || disk->why[0] == 0, "seed %lu: %s", seed, disk->why);
    for (uint32_t group = 0; group < MODEL_GROUPS; group++)
        model_recovered(model, group, durable[group], seed);
}

static void model_run(uint64_t seed, bool rots, size_t *out_damaged, size_t *out_whole)
{
    static struct model model;
    model = (struct model){.disk = wal_disk_new(), .rots = rots};
    model.disk->seed = seed * 1000;
    random_init(&model.random, seed);
    for (uint32_t group = 0; group < MODEL_GROUPS; group++) {
        model.history[group] = memory_alloc_zeroed(MODEL_HISTORY_MAX, sizeof(struct model_group));
        model_begin(&model, group, (struct model_group){.fresh = true, .replica = 100 + group});
    }
    size_t writes_count = 0;
    for (int i = 0; i < 1200; i++) {
        uint32_t group = (uint32_t)random_below(&model.random, MODEL_GROUPS);
        switch (random_below(&model.random, 10)) {
        case 0:
        case 1:
        case 2:
            if (model.history[group][model.history_count[group] - 1].destroyed) {
                size_t last = model.history_count[group] - 1;
                if (model.disk->durable[group] == last)
                    model_begin(&model, group, model.history[group][last]);
            } else if (model.history_count[group] < MODEL_HISTORY_MAX - 1) {
                model_persist(&model, group);
            }
            break;
        case 3:
            if (model.history[group][model.history_count[group] - 1].destroyed)
                break;
            if (random_below(&model.random, 30) == 0)
                model_destroy(&model, group);
            else if (random_below(&model.random, 3) == 0)
                model_cut(&model, group);
            break;
        case 4:
            if (random_below(&model.random, 8) == 0)
                model_crash(&model, seed);
            break;
        case 5:
        case 6:
        case 7:
            if (model.disk->writing)
                wal_disk_write_done(model.disk);
            break;
        default:
            wal_disk_step(model.disk, true);
        }
        if (model.disk->writes_count != writes_count) {
            writes_count = model.disk->writes_count;
            model.writes[model.writes_count++] = (struct wal_disk_place){
                model.disk->last_segment, model.disk->last_offset, model.disk->last_bytes_count};
        }
    }
    model_crash(&model, seed);
    *out_damaged += model.damaged_count;
    *out_whole += model.whole_count;
    for (uint32_t group = 0; group < MODEL_GROUPS; group++)
        free(model.history[group]);
    wal_disk_free(model.disk);
}

Test(wal_random, random_operations_and_crashes_agree_with_the_model)
{
    size_t damaged = 0, whole = 0;
    for (uint64_t seed = 1; seed <= 60; seed++)
        model_run(seed, false, &damaged, &whole);
}

Test(wal_random, nothing_durable_is_lost_in_silence)
{
    size_t damaged = 0, whole = 0;
    for (uint64_t seed = 1001; seed <= 1300; seed++)
        model_run(seed, true, &damaged, &whole);
    cr_assert_gt(damaged, 500, "%zu damaged, %zu whole", damaged, whole);
    cr_assert_gt(whole, 500, "%zu damaged, %zu whole", damaged, whole);
}
