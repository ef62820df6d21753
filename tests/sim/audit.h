/* audit.h: the end of a run, by a client of its own that no fault touches: can every range be
 * written that the map of that moment has, and then: what does everything hold? */
#pragma once

#include "tests/sim/workload.h"

#define AUDIT_RANGES_MAX 64u
/* A range's first key and a byte behind it. */
#define AUDIT_KEY_BYTES_MAX WORKLOAD_KEY_BYTES

struct audit_range {
    uint8_t key[AUDIT_KEY_BYTES_MAX];
    size_t key_bytes;
    bool is_read_only; /* the one key that it holds is somebody else's */
    bool is_done;
};

struct audit {
    struct sim *sim;
    uint32_t ranges_count; /* 0: which there are is not known yet */
    struct audit_range ranges[AUDIT_RANGES_MAX];
    uint32_t done_count;
    uint64_t round; /* so that late answers of an earlier round count for nothing */
    int64_t next_key;
};

bool audit_is_prober(const struct client_process *client);
/* Puts in every range, each until it was done; in one that holds a single key, gets that. */
void audit_probe_begin(struct audit *audit, struct sim *sim);
bool audit_probe_is_done(const struct audit *audit);
/* Which range still waits, for people. */
void audit_probe_print(const struct audit *audit, char *text, size_t text_bytes_max);
/* The prober's actor reads every list and register, and the bank, as transactions. */
extern const struct workload workload_audit;
