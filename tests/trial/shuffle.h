/* shuffle.h: somebody splits, merges and moves ranges all the time, as people might: through the
 * library, without caring what goes wrong meanwhile.
 *
 * The accounts are cut into as many slices as there are hands, each with a thread of its own that
 * touches no range of another slice: so a hand knows what its ranges must look like when a change
 * is over. A split or merge that is over and not done is an error; a move may have been called off.
 */
#pragma once

#include <stdint.h>

struct shuffle;

#define SHUFFLE_WHY_BYTES 512

struct shuffle_options {
    const char *endpoints;
    uint32_t hands_count;
    uint32_t accounts_count;         /* of the bank; a slice has at least two */
    uint32_t slice_ranges_count_max; /* then it merges; 6 */
    uint64_t seed;
};

struct shuffle_counts {
    uint64_t splits_count, merges_count, moves_count; /* done */
    uint64_t called_off_count;                        /* of moves */
    uint64_t refused_count;                           /* asked for, and not begun */
    uint64_t split_ns_max, merge_ns_max, move_ns_max; /* from the asking to the end */
    uint32_t ranges_count_max;                        /* in all slices together */
};

/* A key at which a slice begins, for --initial-splits: the first slice begins with the key space.
 * No range may reach over one of these. */
uint32_t shuffle_slice_begin(uint32_t accounts_count, uint32_t hands_count, uint32_t hand);

/* 0 or a code of ostraka_status.h, with one line in `out_why` (SHUFFLE_WHY_BYTES). */
int shuffle_start(const struct shuffle_options *options, struct shuffle **out_shuffle,
                  char *out_why);
void shuffle_read(struct shuffle *shuffle, struct shuffle_counts *out_counts);
/* Has a hand met what must not be? */
int shuffle_error(struct shuffle *shuffle, char *out_why);
/* Begins nothing any more, and waits until each hand knows the end of what it has begun. Returns as
 * shuffle_error. */
int shuffle_stop(struct shuffle *shuffle, char *out_why);
/* What is under way is left to itself. NULL is fine. */
void shuffle_free(struct shuffle *shuffle);
