#include "shardmaster/oracle.h"

#include "base/assert.h"
#include "base/sometimes.h"

#define WALL_OFF_MS_MAX  1000
#define WARN_EVERY_NS    (60 * NS_PER_S)
#define IDLE_AFTER_NS    (10 * NS_PER_S)
#define WAITING_RETRY_NS (2 * NS_PER_MS)

void oracle_init(struct oracle *oracle, uint32_t ahead_ms)
{
    ASSERT(ahead_ms > 1);
    *oracle = (struct oracle){.ahead_ms = ahead_ms};
}

static timestamp_t oracle_physical(const struct oracle *oracle)
{
    return timestamp_from_ms(oracle->physical_ns / NS_PER_MS);
}

static timestamp_t later_timestamp(timestamp_t a, timestamp_t b)
{
    return a > b ? a : b;
}

void oracle_led(struct oracle *oracle, timestamp_t ceiling, nanoseconds_t now_ns, uint64_t wall_ms)
{
    uint64_t ceiling_ms = timestamp_to_ms(ceiling);
    *oracle = (struct oracle){
        .ahead_ms = oracle->ahead_ms,
        .leads = true,
        .last = ceiling,
        .ceiling = ceiling,
        .physical_ns = (ceiling_ms > 0 ? ceiling_ms : wall_ms) * NS_PER_MS,
        .advanced_ns = now_ns,
        .served_ns = now_ns,
    };
}

void oracle_deposed(struct oracle *oracle)
{
    oracle->leads = false;
}

/* Towards the wall clock at twice or half real speed (O4). */
static void oracle_slew(struct oracle *oracle, uint64_t elapsed_ns, uint64_t wall_ns)
{
    oracle->physical_ns += elapsed_ns;
    if (wall_ns > oracle->physical_ns) {
        uint64_t behind_ns = wall_ns - oracle->physical_ns;
        oracle->physical_ns += behind_ns < elapsed_ns ? behind_ns : elapsed_ns;
    } else {
        uint64_t ahead_ns = oracle->physical_ns - wall_ns;
        oracle->physical_ns -= ahead_ns < elapsed_ns / 2 ? ahead_ns : elapsed_ns / 2;
    }
}

bool oracle_advance(struct oracle *oracle, nanoseconds_t now_ns, uint64_t wall_ms)
{
    if (!oracle->leads || now_ns <= oracle->advanced_ns)
        return false;
    uint64_t before_ns = oracle->physical_ns;
    oracle_slew(oracle, now_ns - oracle->advanced_ns, wall_ms * NS_PER_MS);
    ASSERT(oracle->physical_ns >= before_ns);
    oracle->advanced_ns = now_ns;

    oracle->ahead_of_wall_ms = (int64_t)(oracle->physical_ns / NS_PER_MS) - (int64_t)wall_ms;
    bool is_off =
        oracle->ahead_of_wall_ms > WALL_OFF_MS_MAX || oracle->ahead_of_wall_ms < -WALL_OFF_MS_MAX;
    if (!is_off)
        oracle->warned_ns = 0;
    if (!is_off || (oracle->warned_ns != 0 && now_ns - oracle->warned_ns < WARN_EVERY_NS))
        return false;
    oracle->warned_ns = now_ns;
    return true;
}

int oracle_serve(struct oracle *oracle, uint32_t count, timestamp_t *out_first)
{
    if (!oracle->leads)
        return OST_NOT_LEADER;
    if (count == 0 || count > ORACLE_COUNT_MAX)
        return OST_INVALID_ARGUMENT;
    oracle->served_ns = oracle->advanced_ns;
    timestamp_t first = later_timestamp(oracle->last + 1, oracle_physical(oracle));
    timestamp_t last = first + count - 1;
    if (last > oracle->ceiling || RARE(ORACLE_AT_CEILING))
        return OST_WOULD_BLOCK;
    oracle->last = last;
    *out_first = first;
    return OST_OK;
}

static timestamp_t oracle_half_way(const struct oracle *oracle)
{
    return later_timestamp(oracle->last, oracle_physical(oracle)) +
           timestamp_from_ms(oracle->ahead_ms / 2);
}

timestamp_t oracle_ceiling_wanted(const struct oracle *oracle)
{
    bool is_idle = oracle->advanced_ns - oracle->served_ns > IDLE_AFTER_NS;
    if (!oracle->leads || is_idle || oracle->ceiling_proposed > oracle->ceiling ||
        oracle->ceiling >= oracle_half_way(oracle))
        return 0;
    timestamp_t wanted = oracle_physical(oracle) + timestamp_from_ms(oracle->ahead_ms);
    return wanted > oracle->ceiling ? wanted : 0;
}

void oracle_ceiling_proposed(struct oracle *oracle, timestamp_t ceiling)
{
    ASSERT(ceiling > oracle->ceiling && ceiling > oracle->ceiling_proposed);
    oracle->ceiling_proposed = ceiling;
}

void oracle_ceiling_applied(struct oracle *oracle, timestamp_t ceiling)
{
    if (oracle->leads)
        oracle->ceiling = later_timestamp(oracle->ceiling, ceiling);
}

nanoseconds_t oracle_deadline_ns(const struct oracle *oracle, bool waiting)
{
    if (!oracle->leads)
        return NS_NEVER;
    if (waiting)
        return oracle->advanced_ns + WAITING_RETRY_NS;
    bool is_idle = oracle->advanced_ns - oracle->served_ns > IDLE_AFTER_NS;
    if (is_idle || oracle->ceiling_proposed > oracle->ceiling)
        return NS_NEVER;
    timestamp_t half_way = oracle_half_way(oracle);
    uint64_t left_ms = oracle->ceiling > half_way ? timestamp_to_ms(oracle->ceiling - half_way) : 0;
    /* The clock may run at twice the speed. */
    return oracle->advanced_ns + (left_ms / 2 + 1) * NS_PER_MS;
}
