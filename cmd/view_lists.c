/* view_lists.c: stores, groups, replicas and ranges, a line each. */
#include "cmd/view.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>

#define LEADS_BYTES    200
#define REPLICAS_BYTES 300

__attribute__((format(printf, 3, 4))) static void text_add(char *text, size_t text_bytes,
                                                           const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, text_bytes - used, format, arguments);
    va_end(arguments);
}

/* --- Stores --- */

/* "master, 1, 4": the groups that it leads. */
static void leads_print(const struct picture *picture, size_t place, char *text)
{
    text[0] = '\0';
    uint64_t store = picture->info.stores[place].store;
    for (size_t g = 0; g < picture_groups_count(picture); g++) {
        const struct group_facts *facts = &picture->facts[g];
        if (!facts->leader || facts->leader_store != store)
            continue;
        if (facts->info->group == 0)
            text_add(text, LEADS_BYTES, "master");
        else
            text_add(text, LEADS_BYTES, "%s%" PRIu64, text[0] ? ", " : "", facts->info->group);
    }
    if (!text[0])
        text_add(text, LEADS_BYTES, "-");
}

void stores_draw(const struct picture *picture, struct canvas *canvas)
{
    static const char *const TITLES[] = {"STORE",   "STATE",     "?HOST", "ADDRESS",
                                         ">UP FOR", ">REPLICAS", "LEADS"};
    struct table *table = table_new(TITLES, sizeof TITLES / sizeof TITLES[0]);
    for (size_t i = 0; i < picture->info.stores_count; i++) {
        const struct ost_store_info *store = &picture->info.stores[i];
        const char *state = picture_store_state(picture, i);
        char text[LEADS_BYTES];
        table_cell(table, STYLE_PLAIN, "%" PRIu64, store->store);
        table_cell(table, store_state_style(state), "%s", state);
        table_cell(table, STYLE_PLAIN, "%s", store->host[0] ? store->host : "-");
        table_cell(table, STYLE_PLAIN, "%s", store->address);
        if (picture->results[i] == OST_OK)
            table_cell(table, STYLE_PLAIN, "%s",
                       duration_print(picture->stores[i].uptime_ms, text));
        else
            table_cell(table, STYLE_PLAIN, "-");
        table_cell(table, STYLE_PLAIN, "%u",
                   cluster_store_replicas_count(&picture->info, store->store));
        leads_print(picture, i, text);
        table_cell(table, STYLE_PLAIN, "%s", text);
    }
    table_end(table, canvas);
}

/* --- Groups --- */

/* By store: whoever looks for one finds it. The one after `previous`; NULL: the first. */
static const struct ost_replica_info *replica_next(const struct ost_group_info *group,
                                                   const struct ost_replica_info *previous)
{
    const struct ost_replica_info *next = NULL;
    for (uint32_t r = 0; r < group->replicas_count; r++) {
        const struct ost_replica_info *replica = &group->replicas[r];
        bool is_after = !previous || replica->store > previous->store ||
                        (replica->store == previous->store && replica > previous);
        if (is_after && (!next || replica->store < next->store))
            next = replica;
    }
    return next;
}

/* "1 2(joining) 3(silent)": the stores that have one, and what is the matter with it. */
static void replicas_print(const struct picture *picture, const struct ost_group_info *group,
                           char *text)
{
    text[0] = '\0';
    const struct ost_replica_info *replica = NULL;
    while ((replica = replica_next(group, replica)) != NULL) {
        const char *role = strcmp(replica->role, "voter") == 0 ? "" : replica->role;
        const char *state = replica->lost                                     ? "lost"
                            : !picture_store_answers(picture, replica->store) ? "silent"
                                                                              : "";
        text_add(text, REPLICAS_BYTES, "%s%" PRIu64, text[0] ? " " : "", replica->store);
        if (role[0] || state[0])
            text_add(text, REPLICAS_BYTES, "(%s%s%s)", role, role[0] && state[0] ? ", " : "",
                     state);
    }
}

/* What only the leader can tell. */
static void leader_cells(const struct ost_group_status *leader, struct table *table)
{
    const uint64_t counts[] = {leader ? leader->term : 0, leader ? leader->applied_index : 0,
                               leader ? leader->keys_locked_count : 0,
                               leader ? leader->lock_waiters_count : 0,
                               leader ? leader->prepared_count : 0};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (leader)
            table_cell(table, STYLE_PLAIN, "%" PRIu64, counts[i]);
        else
            table_cell(table, STYLE_PLAIN, "-");
}

static void group_row(const struct picture *picture, const struct group_facts *facts,
                      struct table *table)
{
    char replicas[REPLICAS_BYTES];
    bool is_master = facts->info->group == 0;
    if (is_master)
        table_cell(table, STYLE_PLAIN, "master");
    else
        table_cell(table, STYLE_PLAIN, "%" PRIu64, facts->info->group);
    if (facts->leader)
        table_cell(table, STYLE_PLAIN, "store %" PRIu64, facts->leader_store);
    else
        table_cell(table, STYLE_RED, "none");
    if (is_master)
        table_cell(table, STYLE_PLAIN, "-");
    else
        table_cell(table, STYLE_PLAIN, "%u", facts->ranges_count);
    replicas_print(picture, facts->info, replicas);
    bool is_whole = facts->voters_answering_count == facts->voters_count;
    table_cell(table, is_whole ? STYLE_PLAIN : STYLE_YELLOW, "%s", replicas);
    leader_cells(facts->leader, table);
}

static bool is_remarkable(const struct group_facts *facts)
{
    return facts->info->group == 0 || !facts->leader || facts->info->changing ||
           facts->voters_answering_count < facts->voters_count;
}

void groups_draw(const struct picture *picture, uint32_t groups_count_max, struct canvas *canvas)
{
    static const char *const TITLES[] = {"GROUP",     "LEADER",    ">RANGES", "REPLICAS ON STORES",
                                         "?>TERM",    "?>APPLIED", "?>LOCKS", "?>WAITING",
                                         "?>PREPARED"};
    struct table *table = table_new(TITLES, sizeof TITLES / sizeof TITLES[0]);
    size_t count = picture_groups_count(picture), shown_count = 0;
    bool has_room = groups_count_max == 0 || count <= groups_count_max;
    for (size_t place = 0; place < count; place++) {
        if (!has_room &&
            (!is_remarkable(&picture->facts[place]) || shown_count == groups_count_max))
            continue;
        group_row(picture, &picture->facts[place], table);
        shown_count++;
    }
    table_end(table, canvas);
    if (shown_count < count) {
        canvas_print(canvas, STYLE_DIM, "%zu more: 'ostraka groups' lists all",
                     count - shown_count);
        canvas_line_end(canvas);
    }
}

static const struct ost_group_status *status_of_replica(const struct picture *picture,
                                                        const struct ost_replica_info *replica)
{
    for (size_t i = 0; i < picture->info.stores_count; i++) {
        if (picture->info.stores[i].store != replica->store || picture->results[i] != OST_OK)
            continue;
        for (size_t g = 0; g < picture->stores[i].groups_count; g++)
            if (picture->stores[i].groups[g].replica == replica->replica)
                return &picture->stores[i].groups[g];
    }
    return NULL;
}

static void replica_row(const struct picture *picture, uint64_t group,
                        const struct ost_replica_info *replica, struct table *table)
{
    const struct ost_group_status *status = status_of_replica(picture, replica);
    if (group == 0)
        table_cell(table, STYLE_PLAIN, "master");
    else
        table_cell(table, STYLE_PLAIN, "%" PRIu64, group);
    table_cell(table, STYLE_PLAIN, "%" PRIu64, replica->store);
    table_cell(table, STYLE_PLAIN, "%" PRIu64, replica->replica);
    if (!status) {
        bool answers = picture_store_answers(picture, replica->store);
        table_cell(table, STYLE_RED, "%s", answers ? "not there" : "silent");
        for (int cell = 0; cell < 5; cell++)
            table_cell(table, STYLE_PLAIN, "-");
        return;
    }
    table_cell(table, STYLE_PLAIN, "%s", status->role);
    table_cell(table, STYLE_PLAIN, "%" PRIu64, status->term);
    table_cell(table, STYLE_PLAIN, "%" PRIu64, status->commit_index);
    table_cell(table, STYLE_PLAIN, "%" PRIu64, status->applied_index);
    table_cell(table, STYLE_PLAIN, "%" PRIu64, status->prepared_count);
    table_cell(table, STYLE_PLAIN, "%016" PRIx64, status->chain_hash);
}

/* Those that the map wants, with what their stores say of them. */
void replicas_draw(const struct picture *picture, struct canvas *canvas)
{
    static const char *const TITLES[] = {"GROUP",   "STORE",    "REPLICA",    "ROLE",  ">TERM",
                                         ">COMMIT", ">APPLIED", "?>PREPARED", "?CHAIN"};
    struct table *table = table_new(TITLES, sizeof TITLES / sizeof TITLES[0]);
    for (size_t place = 0; place < picture_groups_count(picture); place++) {
        const struct ost_group_info *group = picture->facts[place].info;
        const struct ost_replica_info *replica = NULL;
        while ((replica = replica_next(group, replica)) != NULL)
            replica_row(picture, group->group, replica, table);
    }
    table_end(table, canvas);
}

/* --- Ranges --- */

bool range_holds_prefix(const struct ost_range_info *range, struct ost_bytes prefix)
{
    struct bytes start = bytes_of(range->start.data, range->start.bytes_count);
    struct bytes end = bytes_of(range->end.data, range->end.bytes_count);
    struct bytes wanted = bytes_of(prefix.data, prefix.bytes_count);
    bool begins_in_it = start.bytes_count >= wanted.bytes_count &&
                        bytes_equal(bytes_of(start.data, wanted.bytes_count), wanted);
    return begins_in_it || key_in_range(wanted, start, end);
}

static void change_print(const struct ost_range_change *change, char *text, size_t text_bytes)
{
    text[0] = '\0';
    if (change->change == 0)
        return;
    text_add(text, text_bytes, "%s %" PRIu64, change->kind, change->change);
    if (change->to_group)
        text_add(text, text_bytes, " to group %" PRIu64, change->to_group);
    if (change->at.bytes_count && strcmp(change->kind, "split") == 0) {
        char at[KEY_TEXT_BYTES];
        text_add(text, text_bytes, " at %s",
                 key_print(bytes_of(change->at.data, change->at.bytes_count), at, 32));
    }
}

static void range_row(const struct picture *picture, const struct ost_range_info *range,
                      struct table *table)
{
    char text[KEY_TEXT_BYTES];
    table_cell(table, STYLE_PLAIN, "%s",
               range->start.bytes_count
                   ? key_print(bytes_of(range->start.data, range->start.bytes_count), text, 40)
                   : "(first)");
    table_cell(table, STYLE_PLAIN, "%s",
               range->end.bytes_count
                   ? key_print(bytes_of(range->end.data, range->end.bytes_count), text, 40)
                   : "(last)");
    table_cell(table, STYLE_PLAIN, "%" PRIu64, range->group);
    table_cell(table, STYLE_PLAIN, "%" PRIu64, range->epoch);
    const struct group_facts *facts = picture_group(picture, range->group);
    if (facts && facts->leader)
        table_cell(table, STYLE_PLAIN, "store %" PRIu64, facts->leader_store);
    else
        table_cell(table, STYLE_RED, "none");
    change_print(&range->change, text, sizeof text);
    table_cell(table, STYLE_YELLOW, "%s", text);
}

void ranges_draw(const struct picture *picture, const struct ranges_wanted *wanted,
                 struct canvas *canvas)
{
    static const char *const TITLES[] = {"FROM", "TO", ">GROUP", "?>EPOCH", "?LEADER", "CHANGE"};
    struct table *table = table_new(TITLES, sizeof TITLES / sizeof TITLES[0]);
    size_t shown_count = 0, hidden_count = 0;
    for (size_t r = 0; r < picture->info.ranges_count; r++) {
        const struct ost_range_info *range = &picture->info.ranges[r];
        if (!range_holds_prefix(range, wanted->prefix))
            continue;
        if (wanted->ranges_count_max && shown_count == wanted->ranges_count_max) {
            hidden_count++;
            continue;
        }
        shown_count++;
        range_row(picture, range, table);
    }
    table_end(table, canvas);
    if (hidden_count) {
        canvas_print(canvas, STYLE_DIM, "%zu more: --limit 0 shows all", hidden_count);
        canvas_line_end(canvas);
    }
}
