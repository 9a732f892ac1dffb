/* listing.h - lists of what there is, row after row, in slices of a turn.
 *
 * What is there from the first turn to the last is listed exactly once; what comes or goes meanwhile may be
 * or not. Rows come in the order of their making. */
#ifndef BROKER_LISTING_H
#define BROKER_LISTING_H

#include "broker/commands.h"

/* What a column's function is given. */
struct row {
    struct vhost *vhost; /* NULL in lists that are of no vhost */
    const void *object;
};

struct column {
    const char *name;
    void (*put)(struct buf *out, const struct row *row);
};

/* What a listing comes to next (in this vhost). Each costs little, so that a turn can count them. */
enum listing_next {
    LISTING_ROW,
    LISTING_PASSED, /* something that has no row: go on */
    LISTING_END,
};

struct listing {
    const struct column *columns;
    size_t column_count;
    const char *defaults; /* names, with blanks between */
    bool of_vhosts;       /* one vhost after the other, those of the argument "vhost"; else the server's */
    enum listing_next (*next)(struct request *r, struct row *row);
};

/* Starts it for a request, whose argument "columns" may name the columns. */
void listing_start(struct request *r, const struct listing *listing);

/* For walks over all queues, then all exchanges of a vhost: the next of both kinds, NULL at the end. A step
 * down (r->listing.walk.at[1]) is the caller's. */
struct queue *listing_queue(struct request *r);
struct exchange *listing_exchange(struct request *r);

/* Makes the walk begin in the next vhost of the request; false = that was the last. For walks of many
 * vhosts that are no listing (definitions_export.c), with listing_choose_vhosts before. */
bool listing_enter_vhost(struct request *r);
/* The vhost of the argument "vhost", or all. False = failed: there is none of that name. */
bool listing_choose_vhosts(struct request *r);

#endif
