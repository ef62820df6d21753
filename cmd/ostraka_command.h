/* ostraka_command.h: what the commands of `ostraka` share: the connection, printing, and their
 * table. */
#pragma once

#include "client/ostraka.h"

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
int command_bank(const struct command_environment *environment, int argc, char **argv);

/* Connects, or prints why not and returns NULL. */
struct ost_client *command_connect(const struct command_environment *environment);
/* Prints "ostraka: WHAT: text of status" (JSON: an object with "error"); returns EXIT_FAILURE. */
int command_failed(const struct command_environment *environment, const char *what, int status,
                   const char *why);
/* Parses argv with `argp`, named "ostraka NAME" in its messages. Ends the program on a mistake. */
void command_parse(const struct argp *argp, int argc, char **argv, void *input);

/* One row, for people or as an object of JSON. */
void command_print_row(const struct command_environment *environment, struct ost_bytes key,
                       struct ost_bytes value, uint64_t version, bool keys_only);
/* The end of the interval of all keys that begin with `prefix`; empty when there is none. In place.
 */
struct ost_bytes prefix_end(uint8_t *prefix, size_t bytes_count);

/* Bytes as text that can be typed again: printable as is, a backslash doubled, the rest \xNN. Free
 * it. */
char *text_escape(struct ost_bytes bytes);
/* The way back, in place; false when it does not parse. */
bool text_unescape(char *text, struct ost_bytes *out_bytes);
/* A whole number, signed, of 64 bits; false when it is none. */
bool text_number(struct ost_bytes text, int64_t *out_number);
/* For argp: an escaped key of 1 to 8192 bytes, or the program ends with one line. */
struct ost_bytes argument_unescape(struct argp_state *state, const char *what, char *text,
                                   bool may_be_empty);
