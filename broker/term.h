/* term.h - field tables written as Erlang terms: RabbitMQ shows them to clients in that way in some places,
 * and programs read it. */
#ifndef BROKER_TERM_H
#define BROKER_TERM_H

#include "base/buf.h"
#include "base/slice.h"

/* Appends an array item (a longstr) for each field of a checked table: {<<"name">>,longstr,<<"value">>}. */
void term_put_fields(struct buf *array, struct slice table);

#endif
