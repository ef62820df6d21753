/* ostraka_txns.c: the transactions that run now, and the locks. */
#include "base/bytes.h"
#include "cmd/ostraka_command.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct list_arguments {
    uint64_t store; /* 0: all */
    uint32_t limit;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct list_arguments *arguments = state->input;
    char *end;
    unsigned long value;
    switch (key) {
    case 's':
        value = strtoul(text, &end, 10);
        if (*end != '\0' || value < 1 || value > 1000)
            argp_error(state, "--store: '%s' is not a store's number", text);
        arguments->store = value;
        return 0;
    case 'n':
        value = strtoul(text, &end, 10);
        if (*end != '\0' || end == text || value < 1 || value > 1000000)
            argp_error(state, "--limit: '%s' is not a whole number from 1 to 1000000", text);
        arguments->limit = (uint32_t)value;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': there are no arguments, only flags", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"store", 's', "ID", 0, "only the groups that this store leads (default: all stores)", 0},
    {"limit", 'n', "ROWS", 0, "at most so many of each store (default: 10000)", 0},
    {0}};

/* --- Cells
 * ------------------------------------------------------------------------------------------------
 */

#define CELL_BYTES 256

static const char *id_text(uint64_t client, uint64_t sequence, char *text)
{
    snprintf(text, CELL_BYTES, "%016" PRIx64 "/%" PRIu64, client, sequence);
    return text;
}

static const char *time_text(uint64_t ms, char *text)
{
    if (ms < 1000)
        snprintf(text, CELL_BYTES, "%" PRIu64 "ms", ms);
    else if (ms < 100000)
        snprintf(text, CELL_BYTES, "%" PRIu64 ".%" PRIu64 "s", ms / 1000, ms % 1000 / 100);
    else
        snprintf(text, CELL_BYTES, "%" PRIu64 "m%02" PRIu64 "s", ms / 60000, ms / 1000 % 60);
    return text;
}

/* "k", or "[a, c)" with nothing for the end of the key space. Cut when it is long. */
static const char *target_text(struct ost_bytes start, struct ost_bytes end, bool is_key,
                               char *text)
{
    char start_text[KEY_TEXT_BYTES], end_text[KEY_TEXT_BYTES];
    key_print(bytes_of(start.data, start.bytes_count), start_text, sizeof start_text);
    key_print(bytes_of(end.data, end.bytes_count), end_text, sizeof end_text);
    if (is_key)
        snprintf(text, CELL_BYTES, "%s", start_text);
    else
        snprintf(text, CELL_BYTES, "[%s, %s)", start_text, end_text);
    return text;
}

static void print_txn(uint64_t store, const struct ost_txn_info *txn)
{
    char id[CELL_BYTES], age[CELL_BYTES], waited[CELL_BYTES], target[CELL_BYTES],
        behind[CELL_BYTES];
    printf("%-5" PRIu64 " %-5" PRIu64 " %-26s %8s  %-10s %6" PRIu64 "  ", store, txn->group,
           id_text(txn->client, txn->sequence, id), time_text(txn->age_ms, age), txn->state,
           txn->locks_count);
    for (size_t i = 0; i < txn->waits_count; i++) {
        const struct ost_wait_info *wait = &txn->waits[i];
        printf("%s%s %s for %s", i ? "; " : "",
               target_text(wait->start, wait->end, wait->is_key, target),
               wait->exclusive ? "exclusive" : "shared", time_text(wait->waited_ms, waited));
        if (wait->behind_count > 0)
            printf(" behind %s", id_text(wait->behind_client, wait->behind_sequence, behind));
        if (wait->behind_count > 1)
            printf(" and %u more", wait->behind_count - 1);
    }
    if (txn->waits_total > txn->waits_count)
        printf("; and %zu more waits", txn->waits_total - txn->waits_count);
    if (txn->waits_total == 0)
        putchar('-');
    if (txn->reads_held_count > 0)
        printf("; holds up %" PRIu64 " reads", txn->reads_held_count);
    putchar('\n');
}

static void print_lock(uint64_t store, const struct ost_lock_info *lock)
{
    char id[CELL_BYTES], waited[CELL_BYTES], target[CELL_BYTES];
    printf("%-5" PRIu64 " %-5" PRIu64 " %-26s %-9s  %-5s %8s  %s\n", store, lock->group,
           id_text(lock->client, lock->sequence, id), lock->exclusive ? "exclusive" : "shared",
           lock->waits ? "waits" : "held", lock->waits ? time_text(lock->waited_ms, waited) : "-",
           target_text(lock->start, lock->end, lock->is_key, target));
}

/* --- JSON
 * -------------------------------------------------------------------------------------------------
 */

static void add_number(cJSON *object, const char *name, uint64_t value)
{
    cJSON_AddNumberToObject(object, name, (double)value);
}

static void add_id(cJSON *object, const char *name, uint64_t client, uint64_t sequence)
{
    char text[CELL_BYTES];
    cJSON_AddStringToObject(object, name, id_text(client, sequence, text));
}

static void add_key(cJSON *object, const char *name, struct ost_bytes key)
{
    char *text = text_escape(key);
    cJSON_AddStringToObject(object, name, text);
    free(text);
}

static void add_target(cJSON *object, struct ost_bytes start, struct ost_bytes end, bool is_key)
{
    add_key(object, is_key ? "key" : "start", start);
    if (!is_key)
        add_key(object, "end", end);
}

static cJSON *txn_json(uint64_t store, const struct ost_txn_info *txn)
{
    cJSON *object = cJSON_CreateObject();
    add_number(object, "store", store);
    add_number(object, "group", txn->group);
    add_id(object, "txn", txn->client, txn->sequence);
    add_number(object, "age_ms", txn->age_ms);
    cJSON_AddStringToObject(object, "state", txn->state);
    add_number(object, "quiet_ms", txn->quiet_ms);
    add_number(object, "locks", txn->locks_count);
    add_number(object, "reads_held", txn->reads_held_count);
    if (txn->anchor.bytes_count)
        add_key(object, "anchor", txn->anchor);
    add_number(object, "waits_total", txn->waits_total);
    cJSON *waits = cJSON_AddArrayToObject(object, "waits");
    for (size_t i = 0; i < txn->waits_count; i++) {
        const struct ost_wait_info *wait = &txn->waits[i];
        cJSON *item = cJSON_CreateObject();
        add_target(item, wait->start, wait->end, wait->is_key);
        cJSON_AddStringToObject(item, "mode", wait->exclusive ? "exclusive" : "shared");
        add_number(item, "waited_ms", wait->waited_ms);
        if (wait->behind_count > 0)
            add_id(item, "behind", wait->behind_client, wait->behind_sequence);
        add_number(item, "behind_count", wait->behind_count);
        cJSON_AddItemToArray(waits, item);
    }
    return object;
}

static cJSON *lock_json(uint64_t store, const struct ost_lock_info *lock)
{
    cJSON *object = cJSON_CreateObject();
    add_number(object, "store", store);
    add_number(object, "group", lock->group);
    add_id(object, "txn", lock->client, lock->sequence);
    add_target(object, lock->start, lock->end, lock->is_key);
    cJSON_AddStringToObject(object, "mode", lock->exclusive ? "exclusive" : "shared");
    cJSON_AddBoolToObject(object, "held", !lock->waits);
    if (lock->waits)
        add_number(object, "waited_ms", lock->waited_ms);
    return object;
}

/* --- A list
 * -----------------------------------------------------------------------------------------------
 */

struct listing {
    const struct command_environment *environment;
    struct list_arguments arguments;
    bool locks;
    size_t rows_count;
    bool more;
    cJSON *rows, *silent; /* with --json */
    int exit_status;
};

static void list_store(struct listing *listing, struct ost_client *client, uint64_t store)
{
    struct ost_txns found = {0};
    int status = listing->locks ? ost_store_locks(client, store, listing->arguments.limit, &found)
                                : ost_store_txns(client, store, listing->arguments.limit, &found);
    if (status != OST_OK) {
        char what[32];
        snprintf(what, sizeof what, "store %" PRIu64, store);
        command_failed(listing->environment, what, status, ost_last_error());
        if (listing->silent)
            cJSON_AddItemToArray(listing->silent, cJSON_CreateNumber((double)store));
        listing->exit_status = EXIT_FAILURE;
        return;
    }
    for (size_t i = 0; i < found.txns_count; i++) {
        if (listing->rows)
            cJSON_AddItemToArray(listing->rows, txn_json(store, &found.txns[i]));
        else
            print_txn(store, &found.txns[i]);
    }
    for (size_t i = 0; i < found.locks_count; i++) {
        if (listing->rows)
            cJSON_AddItemToArray(listing->rows, lock_json(store, &found.locks[i]));
        else
            print_lock(store, &found.locks[i]);
    }
    listing->rows_count += found.txns_count + found.locks_count;
    listing->more = listing->more || found.more;
    ost_txns_free(&found);
}

static void list_end(struct listing *listing, cJSON *object)
{
    if (object) {
        cJSON_AddBoolToObject(object, "more", listing->more);
        char *printed = cJSON_Print(object);
        puts(printed);
        free(printed);
        cJSON_Delete(object);
    } else if (listing->rows_count == 0 && listing->exit_status == EXIT_SUCCESS) {
        puts(listing->locks ? "(no locks)" : "(no transactions)");
    } else if (listing->more) {
        puts("(and more: --limit)");
    }
}

static int list(const struct command_environment *environment, const struct argp *argp, bool locks,
                int argc, char **argv)
{
    struct listing listing = {
        .environment = environment, .locks = locks, .exit_status = EXIT_SUCCESS};
    command_parse(argp, argc, argv, &listing.arguments);
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    struct ost_cluster_info info;
    int status = ost_cluster_info(client, &info);
    if (status != OST_OK) {
        ost_close(client);
        return command_failed(environment, locks ? "locks" : "txns", status, ost_last_error());
    }
    cJSON *object = environment->json ? cJSON_CreateObject() : NULL;
    if (object) {
        listing.rows = cJSON_AddArrayToObject(object, locks ? "locks" : "txns");
        listing.silent = cJSON_AddArrayToObject(object, "silent_stores");
    } else if (locks) {
        printf("%-5s %-5s %-26s %-9s  %-5s %8s  %s\n", "STORE", "GROUP", "TRANSACTION", "MODE",
               "STATE", "SINCE", "KEY");
    } else {
        printf("%-5s %-5s %-26s %8s  %-10s %6s  %s\n", "STORE", "GROUP", "TRANSACTION", "AGE",
               "STATE", "LOCKS", "WAITS FOR");
    }
    bool is_known = false;
    for (size_t i = 0; i < info.stores_count; i++) {
        uint64_t store = info.stores[i].store;
        if (listing.arguments.store && store != listing.arguments.store)
            continue;
        is_known = true;
        list_store(&listing, client, store);
    }
    if (!is_known)
        listing.exit_status =
            command_failed(environment, locks ? "locks" : "txns", OST_NOT_FOUND, "no such store");
    list_end(&listing, object);
    ost_cluster_info_free(&info);
    ost_close(client);
    return listing.exit_status;
}

int command_txns(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc =
            "Lists the transactions that have locks or wait for some, one line for each group in "
            "which they do: how long ago the first try began, the state, how many locks they hold, "
            "and what they wait for, since when and behind whom.\v"
            "States: running; preparing (its commit takes write locks); committing (its entry is "
            "on "
            "the way to the log); prepared (it has voted, and waits for the outcome); in doubt "
            "(prepared, and past its deadline: its home is being asked).\n\n"
            "Exit status 1 when a store does not answer."};
    return list(environment, &argp, false, argc, argv);
}

int command_locks(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Lists the locks that transactions hold, or wait for: on keys, and on intervals "
               "[START, END). Exit status 1 when a store does not answer."};
    return list(environment, &argp, true, argc, argv);
}
