/* ostraka_command.h: what the commands of `ostraka` share: the connection, printing, and their
 * table. */
#pragma once

#include "client/ostraka.h"
#include "cmd/view.h"

#include <argp.h>
#include <stdbool.h>

struct command_environment {
    const char *endpoints;
    uint32_t timeout_ms;
    bool json;
};

/* Runs one command with its own argv (argv[0] is its name); returns the exit status of the program.
 */
struct command {
    const char *name;
    const char *arguments; /* "KEY VALUE" */
    const char *help;      /* one line */
    int (*run)(const struct command_environment *environment, int argc, char **argv);
};

int command_get(const struct command_environment *environment, int argc, char **argv);
int command_put(const struct command_environment *environment, int argc, char **argv);
int command_delete(const struct command_environment *environment, int argc, char **argv);
int command_scan(const struct command_environment *environment, int argc, char **argv);
int command_txn(const struct command_environment *environment, int argc, char **argv);
int command_status(const struct command_environment *environment, int argc, char **argv);
int command_workload(const struct command_environment *environment, int argc, char **argv);
int command_add_replica(const struct command_environment *environment, int argc, char **argv);
int command_remove_replica(const struct command_environment *environment, int argc, char **argv);
int command_move_replica(const struct command_environment *environment, int argc, char **argv);
int command_delete_range(const struct command_environment *environment, int argc, char **argv);
int command_cas(const struct command_environment *environment, int argc, char **argv);
int command_add(const struct command_environment *environment, int argc, char **argv);
int command_txns(const struct command_environment *environment, int argc, char **argv);
int command_locks(const struct command_environment *environment, int argc, char **argv);
int command_stores(const struct command_environment *environment, int argc, char **argv);
int command_groups(const struct command_environment *environment, int argc, char **argv);
int command_ranges(const struct command_environment *environment, int argc, char **argv);
int command_split(const struct command_environment *environment, int argc, char **argv);
int command_merge(const struct command_environment *environment, int argc, char **argv);
int command_move(const struct command_environment *environment, int argc, char **argv);
int command_cancel(const struct command_environment *environment, int argc, char **argv);
int command_drain(const struct command_environment *environment, int argc, char **argv);
int command_remove_store(const struct command_environment *environment, int argc, char **argv);
int command_bank(const struct command_environment *environment, int argc, char **argv);

/* Connects, or prints why not and returns NULL. */
struct ost_client *command_connect(const struct command_environment *environment);
/* Prints "ostraka: WHAT: text of status" (JSON: an object with "error"); returns EXIT_FAILURE. */
int command_failed(const struct command_environment *environment, const char *what, int status,
                   const char *why);
/* Parses argv with `argp`, named "ostraka NAME" in its messages. Ends the program on a mistake. */
void command_parse(const struct argp *argp, int argc, char **argv, void *input);

/* Asks for the map, the stores and, if wanted, the shard master for what is under way. OST_OK with
 * what could be learned. The caller drops it, in any case. */
int picture_take(struct ost_client *client, bool wants_progress, struct picture *out_picture);
void picture_drop(struct picture *picture);

/* Standard output: how wide it is, and whether it has colours (a terminal that is not dumb, and
 * NO_COLOR is not set). In a pipe lines are as long as they are. */
struct screen {
    bool is_terminal, has_colours;
    uint32_t columns, rows; /* 0: no terminal */
};
struct screen screen_find(void);
/* Draws, again and again, until SIGINT: on a terminal in place, on a screen of its own, which is
 * gone in the end. Returns only when `draw` returns false. */
int screen_watch(uint32_t interval_ms, bool (*draw)(void *context, struct canvas *canvas),
                 void *context);
/* What was drawn, to standard output. Frees the canvas. */
void screen_print(struct canvas *canvas_take);

/* ostraka_wait.c: until it is over, with lines that tell how far it is (none with --json). OST_OK:
 * it has come to its end, whichever. OST_NOT_FOUND: the store is gone. */
int wait_for_change(const struct command_environment *environment, struct ost_client *client,
                    uint64_t change);
/* Until no group has a replica on the store. OST_CANCELED: it does not drain any more. */
int wait_for_drain(const struct command_environment *environment, struct ost_client *client,
                   uint64_t store);

/* One row, for people or as an object of JSON. */
void command_print_row(const struct command_environment *environment, struct ost_bytes key,
                       struct ost_bytes value, uint64_t version, bool keys_only);
/* The end of the interval of all keys that begin with `prefix`; empty when there is none. In place.
 */
struct ost_bytes prefix_end(uint8_t *prefix, size_t bytes_count);

/* The way back from text_escape, in place; false when it does not parse. */
bool text_unescape(char *text, struct ost_bytes *out_bytes);
/* A whole number, signed, of 64 bits; false when it is none. */
bool text_number(struct ost_bytes text, int64_t *out_number);
/* For argp: an escaped key of 1 to 8192 bytes, or the program ends with one line. */
struct ost_bytes argument_unescape(struct argp_state *state, const char *what, char *text,
                                   bool may_be_empty);
