/* json_out.h - JSON as text, written straight into a buffer: what listings and definitions are made of.
 * Bytes that are no UTF-8 come out as U+FFFD: JSON has no other bytes. */
#ifndef BROKER_JSON_OUT_H
#define BROKER_JSON_OUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

void json_out_text(struct buf *out, struct slice text);
void json_out_string(struct buf *out, const char *string);
void json_out_number(struct buf *out, int64_t number);
void json_out_flag(struct buf *out, bool flag);
/* A field table that passed table_check, as an object: numbers and timestamps as numbers, void as null.
 * Of several fields of one name the first; in a name U+FFFD for a zero byte. */
void json_out_table(struct buf *out, struct slice table);
/* What is JSON already; empty = {}. */
void json_out_raw(struct buf *out, struct slice json);
/* `"name":`, with a comma before it unless it is the first of its object or array. */
void json_out_key(struct buf *out, const char *name);
/* A comma, unless the last byte opened something. */
void json_out_next(struct buf *out);
void json_out_open(struct buf *out, char bracket);
void json_out_close(struct buf *out, char bracket);

#endif
