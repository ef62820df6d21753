/* blob_bin.h: references that are let go a few at a time. To free the thousand entries that a cut
 * of the log lets go of takes milliseconds, half of them in the system's hands, and whoever waits
 * for the loop waits as long.
 */
#pragma once

#include "base/bytes.h"

struct blob_bin {
    struct blob **blobs;
    size_t count, capacity;
};

/* Takes over the reference. NULL is allowed. */
void blob_bin_put(struct blob_bin *bin, struct blob *blob);
/* Lets go of a share of what it holds, at least of a few: with one call a turn it never holds more
 * than some seventy times what comes in a turn. */
void blob_bin_turn(struct blob_bin *bin);
void blob_bin_fini(struct blob_bin *bin);
