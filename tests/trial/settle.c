/* settle.c: in the end every range has one owner, and nobody else has anything of it. */
#include "client/ostraka.h"
#include "tests/trial/disks.h"
#include "tests/trial/trial.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define SETTLE_NS_MAX (60 * NS_PER_SECOND)
#define LOOK_EVERY_MS 50u
#define PROGRESS_MS   1000u

static uint64_t metric(const struct ost_store_status *status, const char *name)
{
    for (size_t m = 0; m < status->metrics_count; m++)
        if (strcmp(status->metrics[m].name, name) == 0)
            return status->metrics[m].value;
    return 0;
}

/* --- What the map says --- */

static bool keys_meet(struct ost_bytes end, struct ost_bytes start)
{
    return end.bytes_count == start.bytes_count && end.bytes_count > 0 &&
           memcmp(end.data, start.data, end.bytes_count) == 0;
}

/* Every key lies in one range. */
static bool map_is_whole(const struct ost_cluster_info *info)
{
    size_t last = info->ranges_count - 1;
    if (info->ranges_count == 0 || info->ranges[0].start.bytes_count > 0 ||
        info->ranges[last].end.bytes_count > 0)
        return false;
    for (size_t r = 0; r < last; r++)
        if (!keys_meet(info->ranges[r].end, info->ranges[r + 1].start))
            return false;
    return true;
}

/* How many copies of ranges there must be: one in each replica of the owner. 0: not settled, and
 * `why` has the reason. */
static uint64_t copies_wanted(const struct ost_cluster_info *info, char *why)
{
    uint64_t wanted_count = 0;
    if (!map_is_whole(info)) {
        snprintf(why, CLUSTER_WHY_BYTES, "the ranges of the map have holes");
        return 0;
    }
    for (size_t r = 0; r < info->ranges_count; r++) {
        const struct ost_range_info *range = &info->ranges[r];
        if (range->change.change) {
            snprintf(why, CLUSTER_WHY_BYTES, "%s %" PRIu64 " is under way", range->change.kind,
                     range->change.change);
            return 0;
        }
        for (size_t g = 0; g < info->groups_count; g++)
            if (info->groups[g].group == range->group)
                wanted_count += info->groups[g].replicas_count;
    }
    for (size_t g = 0; g < info->groups_count; g++) {
        if (!info->groups[g].changing)
            continue;
        snprintf(why, CLUSTER_WHY_BYTES, "the replicas of group %" PRIu64 " change",
                 info->groups[g].group);
        return 0;
    }
    return wanted_count;
}

/* --- What the stores say --- */

static bool stores_agree(struct trial *trial, const struct ost_cluster_info *info,
                         uint64_t wanted_count)
{
    uint64_t held_count = 0, unsettled_count = 0;
    for (size_t s = 0; s < info->stores_count; s++) {
        struct ost_store_status status;
        uint64_t store = info->stores[s].store;
        if (ost_store_status(trial->client, store, &status) != OST_OK) {
            snprintf(trial->why, sizeof trial->why, "store %" PRIu64 " does not answer", store);
            return false;
        }
        held_count += metric(&status, "ranges_held_count");
        unsettled_count += metric(&status, "ranges_unsettled_count");
        ost_store_status_free(&status);
    }
    snprintf(trial->why, sizeof trial->why,
             "%" PRIu64 " copies of ranges are held, %" PRIu64
             " of them coming or going, and %" PRIu64 " are wanted",
             held_count, unsettled_count, wanted_count);
    return held_count == wanted_count && unsettled_count == 0;
}

static bool nothing_is_under_way(struct trial *trial)
{
    struct ost_progress progress;
    if (ost_progress(trial->client, PROGRESS_MS, &progress) != OST_OK) {
        snprintf(trial->why, sizeof trial->why, "nobody tells what is under way");
        return false;
    }
    bool is_idle = progress.items_count == 0;
    if (!is_idle)
        snprintf(trial->why, sizeof trial->why, "a %s is under way, and waits for %s",
                 progress.items[0].what, progress.items[0].waits_for);
    ost_progress_free(&progress);
    return is_idle;
}

static bool is_settled(struct trial *trial, size_t *out_ranges_count)
{
    struct ost_cluster_info info;
    if (ost_cluster_info(trial->client, &info) != OST_OK) {
        snprintf(trial->why, sizeof trial->why, "nobody has a map");
        return false;
    }
    uint64_t wanted_count = copies_wanted(&info, trial->why);
    bool is = wanted_count > 0 && stores_agree(trial, &info, wanted_count) &&
              nothing_is_under_way(trial) && nemesis_is_rebuilt(&trial->nemesis, bank_now_ns());
    *out_ranges_count = info.ranges_count;
    ost_cluster_info_free(&info);
    return is;
}

int trial_settle(struct trial *trial)
{
    uint64_t began_ns = bank_now_ns();
    size_t ranges_count;
    while (!is_settled(trial, &ranges_count)) {
        char why[CLUSTER_WHY_BYTES];
        int status = cluster_check(trial->cluster, why);
        if (status != OST_OK) {
            snprintf(trial->why, sizeof trial->why, "%s", why);
            return status;
        }
        if (bank_now_ns() - began_ns > SETTLE_NS_MAX) {
            snprintf(why, sizeof why, "not settled after %.0f s: %.400s",
                     (double)SETTLE_NS_MAX / 1e9, trial->why);
            snprintf(trial->why, sizeof trial->why, "%s", why);
            return OST_CORRUPT;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_MS * 1000000l}, NULL);
    }
    printf("settled after %.1f s: %zu ranges, each with one owner and no other copy\n",
           (double)(bank_now_ns() - began_ns) / 1e9, ranges_count);
    fflush(stdout);
    return OST_OK;
}

/* --- What the disks say --- */

/* Every replica has applied what its leader has: it knows what its ranges have come to. */
static bool has_caught_up(struct trial *trial, const struct ost_cluster_info *info,
                          uint64_t *applied_indexes)
{
    bool is_first = applied_indexes[0] == 0;
    bool has_all = true;
    for (size_t s = 0; s < info->stores_count; s++) {
        struct ost_store_status status;
        if (ost_store_status(trial->client, info->stores[s].store, &status) != OST_OK)
            return false;
        for (size_t g = 0; g < status.groups_count; g++) {
            const struct ost_group_status *group = &status.groups[g];
            if (group->group >= CLUSTER_GROUPS_COUNT_MAX)
                continue;
            uint64_t *wanted = &applied_indexes[group->group];
            has_all = has_all && group->applied_index >= *wanted;
            if (is_first && group->applied_index > *wanted)
                *wanted = group->applied_index;
        }
        ost_store_status_free(&status);
    }
    return !is_first && has_all;
}

static int catch_up(struct trial *trial, const struct ost_cluster_info *info)
{
    uint64_t began_ns = bank_now_ns();
    uint64_t applied_indexes[CLUSTER_GROUPS_COUNT_MAX] = {0};
    while (!has_caught_up(trial, info, applied_indexes)) {
        if (bank_now_ns() - began_ns > SETTLE_NS_MAX) {
            snprintf(trial->why, sizeof trial->why, "a replica lags for ever");
            return OST_CORRUPT;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_MS * 1000000l}, NULL);
    }
    return OST_OK;
}

/* They get the signal once, and all at the same time. */
static int stores_stop(struct trial *trial)
{
    uint32_t count = cluster_stores_count(trial->cluster);
    uint64_t began_ns = bank_now_ns();
    for (uint32_t store = 1; store <= count; store++)
        cluster_let_end(trial->cluster, store);
    for (uint32_t store = 1; store <= count; store++)
        cluster_signal(trial->cluster, store, SIGTERM);
    for (uint32_t store = 1; store <= count; store++) {
        int wait_status = 0;
        while (cluster_runs(trial->cluster, store) &&
               !cluster_has_ended(trial->cluster, store, &wait_status) &&
               bank_now_ns() - began_ns < SETTLE_NS_MAX)
            nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_MS * 1000000l}, NULL);
        if (!cluster_runs(trial->cluster, store) && WIFEXITED(wait_status) &&
            WEXITSTATUS(wait_status) == 0)
            continue;
        snprintf(trial->why, sizeof trial->why, "store %" PRIu32 " does not stop as it should",
                 store);
        return OST_CORRUPT;
    }
    return OST_OK;
}

int trial_judge_disks(struct trial *trial)
{
    struct ost_cluster_info info;
    struct disks_counts counts = {0};
    int status = ost_cluster_info(trial->client, &info);
    if (status != OST_OK) {
        snprintf(trial->why, sizeof trial->why, "nobody has a map");
        return status;
    }
    status = catch_up(trial, &info);
    if (status == OST_OK)
        status = stores_stop(trial);
    for (size_t s = 0; status == OST_OK && s < info.stores_count; s++) {
        uint64_t store = info.stores[s].store;
        status = disks_check(&info, store, cluster_data_path(trial->cluster, (uint32_t)store),
                             &counts, trial->why);
    }
    ost_cluster_info_free(&info);
    if (status == OST_OK)
        printf("disks: %" PRIu64 " ranges on %" PRIu64 " stores, %" PRIu64
               " versions, all of ranges that are owned there\n",
               counts.ranges_count, counts.stores_count, counts.versions_count);
    return status;
}
