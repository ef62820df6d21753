#include "tests/trial/nemesis.h"

#include "client/ostraka.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
/* Between two of a kind. */
#define CALM_MS_MIN 1000u
/* The map is looked at so often while a store's replicas are made anew. */
#define REBUILD_LOOK_MS 200u

struct span {
    uint32_t ms_min, ms_max;
};
static const struct span fault_spans[] = {
    [NEMESIS_KILL] = {100, 5000},
    [NEMESIS_PAUSE] = {100, 30000},
    [NEMESIS_PARTITION] = {500, 10000},
    [NEMESIS_WIPE] = {100, 2000},
};

const char *nemesis_fault_name(enum nemesis_fault fault)
{
    static const char *const names[] = {"kill", "pause", "partition", "wipe"};
    return names[fault];
}

static uint32_t stores_count(const struct nemesis *nemesis)
{
    return cluster_stores_count(nemesis->cluster);
}

static uint32_t draw_store(struct nemesis *nemesis)
{
    return 1 + (uint32_t)random_below(&nemesis->random, stores_count(nemesis));
}

/* Short times are drawn as often as long ones: each doubling is as likely. */
static uint64_t draw_span_ns(struct nemesis *nemesis, struct span span)
{
    uint32_t doublings = 0;
    while (span.ms_min << (doublings + 1) <= span.ms_max)
        doublings++;
    uint64_t ms = (uint64_t)span.ms_min << random_below(&nemesis->random, doublings + 1);
    ms += random_below(&nemesis->random, ms);
    return (ms < span.ms_max ? ms : span.ms_max) * NS_PER_MS;
}

__attribute__((format(printf, 3, 4))) static void say(struct nemesis *nemesis, uint64_t now_ns,
                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(nemesis->out, "%6.1f s  ", (double)(now_ns - nemesis->started_ns) / 1e9);
    vfprintf(nemesis->out, format, arguments);
    fputc('\n', nemesis->out);
    fflush(nemesis->out);
    va_end(arguments);
}

static char *print_stores(const struct nemesis *nemesis, const bool *stores, char *text,
                          size_t text_bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t store = 1; store <= stores_count(nemesis); store++)
        if (stores[store] && used < text_bytes)
            used += (size_t)snprintf(text + used, text_bytes - used, " %" PRIu32, store);
    return text;
}

/* --- Kill --------------------------------------------------------------------------------------
 */

static void kill_begin(struct nemesis *nemesis, struct nemesis_timer *timer, uint64_t now_ns)
{
    bool every_store = random_below(&nemesis->random, 4) == 0;
    uint32_t one = draw_store(nemesis);
    for (uint32_t store = 1; store <= stores_count(nemesis); store++) {
        bool is_hit = every_store || store == one || random_below(&nemesis->random, 3) == 0;
        timer->stores[store] = is_hit && cluster_runs(nemesis->cluster, store);
    }
    /* All get the signal before one is waited for. */
    for (uint32_t store = 1; store <= stores_count(nemesis); store++)
        if (timer->stores[store])
            cluster_signal(nemesis->cluster, store, SIGKILL);
    for (uint32_t store = 1; store <= stores_count(nemesis); store++)
        if (timer->stores[store])
            cluster_kill(nemesis->cluster, store);
    char text[64];
    say(nemesis, now_ns, "kill -9: stores%s",
        print_stores(nemesis, timer->stores, text, sizeof text));
}

static int kill_end(struct nemesis *nemesis, struct nemesis_timer *timer, uint64_t now_ns,
                    char *out_why)
{
    for (uint32_t store = 1; store <= stores_count(nemesis); store++) {
        if (!timer->stores[store])
            continue;
        timer->stores[store] = false;
        int status = cluster_start(nemesis->cluster, store, out_why);
        if (status != OST_OK)
            return status;
    }
    say(nemesis, now_ns, "started again");
    return OST_OK;
}

/* --- Pause -------------------------------------------------------------------------------------
 */

static void pause_begin(struct nemesis *nemesis, struct nemesis_timer *timer, uint64_t now_ns)
{
    uint32_t leaders[CLUSTER_GROUPS_COUNT_MAX];
    uint32_t group = (uint32_t)random_below(&nemesis->random, nemesis->groups_count);
    cluster_leaders(nemesis->cluster, nemesis->monitor, leaders, nemesis->groups_count);
    uint32_t store = leaders[group];
    if (store == 0 || random_below(&nemesis->random, 4) == 0)
        store = draw_store(nemesis);
    if (!cluster_runs(nemesis->cluster, store))
        return; /* killed: it cannot be stopped as well */
    timer->stores[store] = true;
    cluster_signal(nemesis->cluster, store, SIGSTOP);
    say(nemesis, now_ns, "SIGSTOP: store %" PRIu32 "%s", store,
        leaders[group] == store ? ", a leader" : "");
}

static void pause_end(struct nemesis *nemesis, struct nemesis_timer *timer, uint64_t now_ns)
{
    for (uint32_t store = 1; store <= stores_count(nemesis); store++) {
        if (!timer->stores[store])
            continue;
        timer->stores[store] = false;
        cluster_signal(nemesis->cluster, store, SIGCONT);
        say(nemesis, now_ns, "SIGCONT: store %" PRIu32, store);
    }
}

/* --- Wipe --------------------------------------------------------------------------------------
 */

/* Has the group all its replicas? `out_replica`: grows to the highest number of one. */
static bool group_is_whole(const struct nemesis *nemesis, const struct ost_group_info *group,
                           uint64_t *out_replica)
{
    bool is_whole = !group->changing;
    for (uint32_t r = 0; r < group->replicas_count; r++) {
        const struct ost_replica_info *replica = &group->replicas[r];
        bool is_old = nemesis->wiped_store != 0 && replica->store == nemesis->wiped_store &&
                      replica->replica <= nemesis->wiped_replica;
        is_whole = is_whole && !replica->lost && !is_old && strcmp(replica->role, "voter") == 0;
        if (replica->replica > *out_replica)
            *out_replica = replica->replica;
    }
    return is_whole;
}

static bool cluster_is_whole(const struct nemesis *nemesis, uint64_t *out_replica)
{
    struct ost_cluster_info info;
    *out_replica = 0;
    if (ost_cluster_info(nemesis->monitor, &info) != OST_OK)
        return false;
    bool is_whole = group_is_whole(nemesis, &info.master, out_replica);
    for (size_t g = 0; g < info.groups_count; g++)
        is_whole = group_is_whole(nemesis, &info.groups[g], out_replica) && is_whole;
    ost_cluster_info_free(&info);
    return is_whole;
}

bool nemesis_is_rebuilt(struct nemesis *nemesis, uint64_t now_ns)
{
    uint64_t replica;
    if (nemesis->wiped_store == 0)
        return true;
    if (nemesis->timers[NEMESIS_WIPE].is_on || !cluster_is_whole(nemesis, &replica))
        return false;
    uint64_t took_ns = now_ns - nemesis->wiped_ns;
    if (took_ns > nemesis->rebuild_ns_max)
        nemesis->rebuild_ns_max = took_ns;
    say(nemesis, now_ns, "store %" PRIu32 " has its replicas again after %.1f s",
        nemesis->wiped_store, (double)took_ns / 1e9);
    nemesis->wiped_store = 0;
    return true;
}

/* False: not now. */
static bool wipe_begin(struct nemesis *nemesis, struct nemesis_timer *timer, uint64_t now_ns)
{
    uint64_t replica;
    uint32_t store = draw_store(nemesis);
    if (!nemesis_is_rebuilt(nemesis, now_ns) || !cluster_runs(nemesis->cluster, store) ||
        !cluster_is_whole(nemesis, &replica))
        return false;
    nemesis->wiped_store = store;
    nemesis->wiped_replica = replica;
    timer->stores[store] = true;
    cluster_kill(nemesis->cluster, store);
    cluster_wipe(nemesis->cluster, store);
    say(nemesis, now_ns, "kill -9, and its disk is lost: store %" PRIu32, store);
    return true;
}

static int wipe_end(struct nemesis *nemesis, struct nemesis_timer *timer, uint64_t now_ns,
                    char *out_why)
{
    nemesis->wiped_ns = now_ns;
    return kill_end(nemesis, timer, now_ns, out_why);
}

/* --- Partition ---------------------------------------------------------------------------------
 */

static void cut_both(struct nemesis *nemesis, uint32_t a, uint32_t b)
{
    hosts_cut(nemesis->hosts, a, b, true);
    hosts_cut(nemesis->hosts, b, a, true);
}

/* Each store falls on one side, the clients (place 0) on one too. */
static void cut_halves(struct nemesis *nemesis)
{
    bool side[CLUSTER_STORES_COUNT_MAX + 1];
    for (uint32_t host = 0; host <= stores_count(nemesis); host++)
        side[host] = random_below(&nemesis->random, 2) == 0;
    for (uint32_t a = 0; a <= stores_count(nemesis); a++)
        for (uint32_t b = a + 1; b <= stores_count(nemesis); b++)
            if (side[a] != side[b])
                cut_both(nemesis, a, b);
}

/* A store hears as many neighbours to each side as make a majority with it. */
static void cut_ring(struct nemesis *nemesis)
{
    uint32_t count = stores_count(nemesis);
    uint32_t reach = count / 4 + 1;
    uint32_t turn = (uint32_t)random_below(&nemesis->random, count);
    for (uint32_t a = 0; a < count; a++)
        for (uint32_t b = a + 1; b < count; b++) {
            /* With three, a ring is a whole circle: it is opened at one place. */
            bool is_far = count > 3 ? b - a > reach && count - (b - a) > reach : b - a == 2;
            if (is_far)
                cut_both(nemesis, 1 + (a + turn) % count, 1 + (b + turn) % count);
        }
}

static void cut_one_way(struct nemesis *nemesis)
{
    uint32_t from = draw_store(nemesis), to = draw_store(nemesis);
    hosts_cut(nemesis->hosts, from, from == to ? HOSTS_CLIENTS : to, true);
}

static void cut_one_store(struct nemesis *nemesis)
{
    uint32_t alone = draw_store(nemesis);
    bool clients_too = random_below(&nemesis->random, 2) == 0;
    for (uint32_t host = clients_too ? 0 : 1; host <= stores_count(nemesis); host++)
        if (host != alone)
            cut_both(nemesis, alone, host);
}

static int partition_begin(struct nemesis *nemesis, uint64_t now_ns, char *out_why)
{
    static const struct {
        const char *name;
        void (*cut)(struct nemesis *nemesis);
    } shapes[] = {{"halves", cut_halves},
                  {"a ring", cut_ring},
                  {"one direction", cut_one_way},
                  {"one store alone", cut_one_store}};
    uint64_t shape = random_below(&nemesis->random, sizeof shapes / sizeof shapes[0]);
    hosts_cut_none(nemesis->hosts);
    shapes[shape].cut(nemesis);
    say(nemesis, now_ns, "partition: %s", shapes[shape].name);
    return hosts_apply(nemesis->hosts, out_why);
}

static int partition_end(struct nemesis *nemesis, uint64_t now_ns, char *out_why)
{
    hosts_cut_none(nemesis->hosts);
    say(nemesis, now_ns, "partition healed");
    return hosts_apply(nemesis->hosts, out_why);
}

/* --- Time --------------------------------------------------------------------------------------
 */

static int fault_end(struct nemesis *nemesis, enum nemesis_fault fault, uint64_t now_ns,
                     char *out_why)
{
    struct nemesis_timer *timer = &nemesis->timers[fault];
    timer->is_on = false;
    timer->until_ns =
        now_ns + draw_span_ns(nemesis, (struct span){CALM_MS_MIN, nemesis->calm_ms_max});
    switch (fault) {
    case NEMESIS_KILL:
        return kill_end(nemesis, timer, now_ns, out_why);
    case NEMESIS_PAUSE:
        pause_end(nemesis, timer, now_ns);
        return OST_OK;
    case NEMESIS_WIPE:
        return wipe_end(nemesis, timer, now_ns, out_why);
    default:
        return partition_end(nemesis, now_ns, out_why);
    }
}

static int fault_begin(struct nemesis *nemesis, enum nemesis_fault fault, uint64_t now_ns,
                       char *out_why)
{
    struct nemesis_timer *timer = &nemesis->timers[fault];
    if (fault == NEMESIS_WIPE && !wipe_begin(nemesis, timer, now_ns)) {
        timer->until_ns = now_ns + REBUILD_LOOK_MS * NS_PER_MS;
        return OST_OK;
    }
    timer->is_on = true;
    timer->count++;
    timer->until_ns = now_ns + draw_span_ns(nemesis, fault_spans[fault]);
    switch (fault) {
    case NEMESIS_KILL:
        kill_begin(nemesis, timer, now_ns);
        return OST_OK;
    case NEMESIS_PAUSE:
        pause_begin(nemesis, timer, now_ns);
        return OST_OK;
    case NEMESIS_WIPE:
        return OST_OK;
    default:
        return partition_begin(nemesis, now_ns, out_why);
    }
}

int nemesis_tick(struct nemesis *nemesis, uint64_t now_ns, char *out_why)
{
    int status = OST_OK;
    for (enum nemesis_fault fault = 0; status == OST_OK && fault < NEMESIS_FAULTS_COUNT; fault++) {
        const struct nemesis_timer *timer = &nemesis->timers[fault];
        if (!nemesis->enabled[fault] || timer->until_ns > now_ns)
            continue;
        status = timer->is_on ? fault_end(nemesis, fault, now_ns, out_why)
                              : fault_begin(nemesis, fault, now_ns, out_why);
    }
    if (nemesis->wiped_store != 0 && now_ns >= nemesis->rebuild_look_ns) {
        nemesis->rebuild_look_ns = now_ns + REBUILD_LOOK_MS * NS_PER_MS;
        nemesis_is_rebuilt(nemesis, now_ns);
    }
    return status;
}

int nemesis_heal(struct nemesis *nemesis, uint64_t now_ns, char *out_why)
{
    int status = OST_OK;
    for (enum nemesis_fault fault = 0; status == OST_OK && fault < NEMESIS_FAULTS_COUNT; fault++)
        if (nemesis->timers[fault].is_on)
            status = fault_end(nemesis, fault, now_ns, out_why);
    return status;
}
