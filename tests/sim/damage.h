/* damage.h - what a flipped bit costs: a disk is recovered twice, as it is and with one bit of its journal or
 * its pages turned over, and the two are compared. Nothing on the disk changes. */
#ifndef TESTS_SIM_DAMAGE_H
#define TESTS_SIM_DAMAGE_H

#include "base/rand.h"
#include "tests/sim/fakedisk.h"

struct damage_counts {
    uint64_t flips;  /* bits that were turned over */
    uint64_t noted;  /* of these, such that a start named */
    uint64_t lost;   /* messages that lay in the damaged record or page */
    uint64_t again;  /* acked messages that came again, flagged */
    uint64_t cut;    /* flips that looked like an interrupted write */
};

/* Turns one bit of a disk over that nobody has open, and panics when that costs more than the record or the
 * page it is in, when a message is not what it was, or when one comes again without its flag. False when
 * there is nothing on the disk. */
bool damage_try(const struct fakedisk *disk, const char *dir, size_t segment_bytes, struct rand *rand,
                struct damage_counts *counts);

#endif
