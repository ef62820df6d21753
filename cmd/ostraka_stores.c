/* ostraka_stores.c: stores that give up what they have, and leave. */
#include "cmd/arguments.h"
#include "cmd/ostraka_command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum option_key { KEY_WAIT = 256, KEY_CANCEL };

struct wish {
    uint64_t store;
    bool wait, cancel;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct wish *wish = state->input;
    switch (key) {
    case KEY_WAIT:
        wish->wait = true;
        return 0;
    case KEY_CANCEL:
        wish->cancel = true;
        return 0;
    case ARGP_KEY_ARG:
        if (wish->store)
            argp_error(state, "'%s': one STORE is enough", text);
        wish->store = argument_operand(state, "STORE", text, 1, UINT32_MAX);
        return 0;
    case ARGP_KEY_END:
        if (!wish->store)
            argp_error(state, "name a STORE: 'ostraka stores' lists them");
        if (wish->wait && wish->cancel)
            argp_error(state, "--cancel takes no time: --wait is for draining");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* `done` is of the whole, not of its beginning. */
static int tell(const struct command_environment *environment, const char *what,
                const struct wish *wish, int status, const char *why, const char *text, bool done)
{
    char about[64];
    snprintf(about, sizeof about, "%s of store %" PRIu64, what, wish->store);
    if (status != OST_OK && status != OST_EXISTS)
        return command_failed(environment, about, status, why[0] ? why : ost_last_error());
    if (environment->json)
        printf("{\"store\":%" PRIu64 ",\"done\":%s}\n", wish->store, done ? "true" : "false");
    else
        printf("%s\n", text);
    return EXIT_SUCCESS;
}

static int drain(const struct command_environment *environment, struct ost_client *client,
                 const struct wish *wish)
{
    char why[256] = "", text[160];
    int status = ost_drain_store(client, wish->store, why);
    snprintf(text, sizeof text,
             "%s: store %" PRIu64 " gives up its replicas%s: 'ostraka status' shows how far it is",
             status == OST_EXISTS ? "nothing to do" : "begun", wish->store,
             status == OST_EXISTS ? " already" : "");
    bool is_done = false;
    if ((status == OST_OK || status == OST_EXISTS) && wish->wait) {
        status = wait_for_drain(environment, client, wish->store);
        is_done = status == OST_OK;
        if (status == OST_CANCELED)
            snprintf(why, sizeof why, "it was called off, and takes replicas again");
        snprintf(text, sizeof text,
                 "done: store %" PRIu64 " has no replicas any more: 'ostraka remove-store %" PRIu64
                 "' takes it out of the cluster",
                 wish->store, wish->store);
    }
    return tell(environment, "drain", wish, status, why, text, is_done);
}

static int undrain(const struct command_environment *environment, struct ost_client *client,
                   const struct wish *wish)
{
    char why[256] = "", text[160];
    int status = ost_undrain_store(client, wish->store, why);
    if (status == OST_EXISTS)
        snprintf(text, sizeof text, "nothing to do: store %" PRIu64 " does not drain", wish->store);
    else
        snprintf(text, sizeof text, "called off: store %" PRIu64 " may have replicas again",
                 wish->store);
    return tell(environment, "drain --cancel", wish, status, why, text, true);
}

static int remove_it(const struct command_environment *environment, struct ost_client *client,
                     const struct wish *wish)
{
    char why[256] = "", text[160];
    int status = ost_remove_store(client, wish->store, why);
    snprintf(text, sizeof text, "done: store %" PRIu64 " is not in the cluster any more",
             wish->store);
    return tell(environment, "removal", wish, status, why, text, true);
}

static int run(const struct command_environment *environment, const struct wish *wish,
               int (*act)(const struct command_environment *environment, struct ost_client *client,
                          const struct wish *wish))
{
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    int exit_status = act(environment, client, wish);
    ost_close(client);
    return exit_status;
}

int command_drain(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"wait", KEY_WAIT, NULL, 0, "tell how far it is, and return when it is done", 0},
        {"cancel", KEY_CANCEL, NULL, 0, "call it off: what has left does not come back", 0},
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "STORE",
        .doc = "Gives a store's replicas to others, one after the other, so that it can be taken "
               "out of the cluster. Nobody notices but by the load."};
    struct wish wish = {0};
    command_parse(&argp, argc, argv, &wish);
    return run(environment, &wish, wish.cancel ? undrain : drain);
}

int command_remove_store(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "STORE",
        .doc = "Strikes a store that has no replicas from the map, for good; 'ostraka drain' takes "
               "its replicas from it. If it runs, it stops. Its data is of no use any more: delete "
               "it, and give its number to no other store."};
    struct wish wish = {0};
    command_parse(&argp, argc, argv, &wish);
    return run(environment, &wish, remove_it);
}
