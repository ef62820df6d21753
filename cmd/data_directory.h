/* data_directory.h: whose directory is it? An IDENTITY file in the data and in the log directory
 * names format, cluster and store, so that a directory is never opened by the wrong process, nor
 * one half of a store without the other (R6: a store that lost its disk is a new store). Blocking;
 * for start-up. */
#pragma once

#include "base/status.h"
#include "base/types.h"

#define DATA_FORMAT_VERSION 2u

struct data_directory {
    char *path;
    char *log_path;
    char *store_path;
    int lock_fd;
};

/* Makes both when they are new, takes the lock, compares the identity. OST_EXISTS: another process
 * has it. OST_WRONG_CLUSTER, OST_WRONG_VERSION, OST_CORRUPT, OST_IO, OST_NO_SPACE. `out_why` (512
 * bytes) is one line for people: the thing, and what to do. */
OST_MUST_CHECK int data_directory_open(const char *path, const char *log_path, cluster_id_t cluster,
                                       store_id_t store, struct data_directory *out_directory,
                                       char *out_why);
void data_directory_close(struct data_directory *directory);
