/* server.h: runs a node (node.h) on an io_uring loop, a log thread and a pool. Everything of
 * ostrakad that touches the machine is here and in data_directory.h. */
#pragma once

#include "cmd/node.h"

struct server_options {
    struct node_options node;
    const char *listen_address;
    const char *data_directory;
    const char *log_directory; /* NULL: "log" below the data directory */
    struct store_options store;
    unsigned pool_threads_count;
};

/* Runs until SIGTERM or SIGINT, or until it cannot go on. The exit status of the process; what is
 * wrong has been logged by then in one line that says what to do. */
int server_run(const struct server_options *options);
