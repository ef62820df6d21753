#include "tests/trial/growth.h"

#include "client/ostraka.h"
#include "cmd/bank.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#define NS_PER_MS     UINT64_C(1000000)
#define LOOK_EVERY_NS (20 * NS_PER_MS)
#define STEP_NS_MAX   (60 * 1000 * NS_PER_MS)

__attribute__((format(printf, 3, 4))) static void say(struct growth *growth, uint64_t now_ns,
                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(growth->out, "%6.1f s  ", (double)(now_ns - growth->started_ns) / 1e9);
    vfprintf(growth->out, format, arguments);
    fputc('\n', growth->out);
    fflush(growth->out);
    va_end(arguments);
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

void growth_begin(struct growth *growth)
{
    growth->first_stores_count = cluster_stores_count(growth->cluster);
    growth->state = GROWTH_RESTING;
    growth->next_ns = growth->started_ns + growth->rest_ns;
}

/* --- Steps --- */

static bool has_joined_all(const struct growth *growth)
{
    return growth->steps_count > growth->first_stores_count;
}

static void step_end(struct growth *growth, uint64_t now_ns)
{
    bool was_last = growth->steps_count == 2 * growth->first_stores_count;
    growth->state = was_last ? GROWTH_DONE : GROWTH_RESTING;
    growth->next_ns = now_ns + growth->rest_ns;
}

/* What the bank's clients have noticed since the step began. */
static void gap_print(struct growth *growth, char *text, size_t text_bytes)
{
    struct bank_gap gap;
    bank_gap_read(growth->bank, &gap);
    if (gap.any_ns > growth->any_gap_ns_max)
        growth->any_gap_ns_max = gap.any_ns;
    if (gap.group_ns > growth->group_gap_ns_max)
        growth->group_gap_ns_max = gap.group_ns;
    snprintf(text, text_bytes, "longest time without a transfer %.0f ms, in one group %.0f ms",
             (double)gap.any_ns / 1e6, (double)gap.group_ns / 1e6);
}

static int step_begin(struct growth *growth, uint64_t now_ns, char *out_why)
{
    growth->steps_count++;
    growth->step_ns = growth->next_ns = now_ns;
    growth->is_asked = false;
    bank_gap_begin(growth->bank);
    if (has_joined_all(growth)) {
        growth->store = growth->steps_count - growth->first_stores_count;
        growth->state = GROWTH_DRAINING;
        return OST_OK;
    }
    growth->state = GROWTH_JOINING;
    return cluster_join(growth->cluster, &growth->store, out_why);
}

/* --- What the map says --- */

struct share {
    bool is_still;  /* no group's replicas change */
    bool is_listed; /* the store is in the map */
    uint32_t count; /* of its replicas */
    uint32_t fair_count;
};

static void share_add(struct share *share, const struct ost_group_info *group, uint32_t store)
{
    share->is_still = share->is_still && !group->changing;
    share->fair_count += group->replicas_count;
    for (uint32_t r = 0; r < group->replicas_count; r++)
        share->count += group->replicas[r].store == store;
}

/* False: nobody tells. */
static bool share_find(struct growth *growth, struct share *out_share)
{
    struct ost_cluster_info info;
    if (ost_cluster_info(growth->monitor, &info) != OST_OK)
        return false;
    *out_share = (struct share){.is_still = true};
    share_add(out_share, &info.master, growth->store);
    for (size_t g = 0; g < info.groups_count; g++)
        share_add(out_share, &info.groups[g], growth->store);
    for (size_t s = 0; s < info.stores_count; s++)
        out_share->is_listed = out_share->is_listed || info.stores[s].store == growth->store;
    out_share->fair_count /= (uint32_t)info.stores_count;
    ost_cluster_info_free(&info);
    return true;
}

static void joining_look(struct growth *growth, uint64_t now_ns)
{
    struct share share;
    char gap[128];
    if (!share_find(growth, &share) || !share.is_listed || !share.is_still || share.count == 0 ||
        share.count < share.fair_count)
        return;
    uint64_t took_ns = now_ns - growth->step_ns;
    if (took_ns > growth->join_ns_max)
        growth->join_ns_max = took_ns;
    gap_print(growth, gap, sizeof gap);
    say(growth, now_ns,
        "store %" PRIu32 " has joined and has %" PRIu32 " replicas after %.1f s; %s", growth->store,
        share.count, seconds(took_ns), gap);
    step_end(growth, now_ns);
}

static int draining_look(struct growth *growth, uint64_t now_ns, char *out_why)
{
    struct share share;
    char gap[128], why[256] = "";
    int status = growth->is_asked ? OST_OK : ost_drain_store(growth->monitor, growth->store, why);
    /* Asked again when the answer was lost: then it drains already. */
    growth->is_asked = status == OST_OK || status == OST_EXISTS;
    if (!growth->is_asked && !ost_status_is_retryable(status)) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "store %" PRIu32 " cannot drain: %s", growth->store,
                 why);
        return status;
    }
    if (!growth->is_asked || !share_find(growth, &share) || !share.is_still || share.count > 0)
        return OST_OK;
    uint64_t took_ns = now_ns - growth->step_ns;
    if (took_ns > growth->drain_ns_max)
        growth->drain_ns_max = took_ns;
    gap_print(growth, gap, sizeof gap);
    say(growth, now_ns, "store %" PRIu32 " has given up its replicas after %.1f s; %s",
        growth->store, seconds(took_ns), gap);
    growth->state = GROWTH_LEAVING;
    growth->step_ns = now_ns;
    growth->is_asked = false;
    cluster_let_end(growth->cluster, growth->store);
    return OST_OK;
}

static int leaving_look(struct growth *growth, uint64_t now_ns, char *out_why)
{
    char why[256] = "";
    int wait_status;
    int status = growth->is_asked ? OST_OK : ost_remove_store(growth->monitor, growth->store, why);
    growth->is_asked = status == OST_OK || status == OST_NOT_FOUND;
    if (!growth->is_asked && !ost_status_is_retryable(status)) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "store %" PRIu32 " cannot be removed: %s",
                 growth->store, why);
        return status;
    }
    if (!cluster_has_ended(growth->cluster, growth->store, &wait_status))
        return OST_OK;
    if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "store %" PRIu32 " was removed, and ended badly",
                 growth->store);
        return OST_CORRUPT;
    }
    say(growth, now_ns, "store %" PRIu32 " was removed and has ended after %.1f s", growth->store,
        seconds(now_ns - growth->step_ns));
    step_end(growth, now_ns);
    return OST_OK;
}

int growth_tick(struct growth *growth, uint64_t now_ns, char *out_why)
{
    static const char *const doings[] = {"rest", "join", "drain", "leave", "rest"};
    if (growth->state == GROWTH_DONE || now_ns < growth->next_ns)
        return OST_OK;
    growth->next_ns = now_ns + LOOK_EVERY_NS;
    int status = OST_OK;
    switch (growth->state) {
    case GROWTH_RESTING:
        return step_begin(growth, now_ns, out_why);
    case GROWTH_JOINING:
        joining_look(growth, now_ns);
        break;
    case GROWTH_DRAINING:
        status = draining_look(growth, now_ns, out_why);
        break;
    default:
        status = leaving_look(growth, now_ns, out_why);
        break;
    }
    bool waits = growth->state != GROWTH_RESTING && growth->state != GROWTH_DONE;
    if (status == OST_OK && waits && now_ns - growth->step_ns > STEP_NS_MAX) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "store %" PRIu32 " does not %s within %.0f s",
                 growth->store, doings[growth->state], seconds(STEP_NS_MAX));
        return OST_DEADLINE_EXCEEDED;
    }
    return status;
}
