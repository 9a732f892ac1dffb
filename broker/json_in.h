/* json_in.h - what requests and definitions say in JSON (jansson), as Leveret's own types. */
#ifndef BROKER_JSON_IN_H
#define BROKER_JSON_IN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

/* The member of that name; false when there is none or it is of another type. Slices are the object's. */
bool json_in_text(const json_t *object, const char *name, struct slice *text);
bool json_in_number(const json_t *object, const char *name, int64_t *number);
bool json_in_flag(const json_t *object, const char *name, bool *flag);
/* As above, `otherwise` when there is none. */
bool json_in_flag_or(const json_t *object, const char *name, bool otherwise);

/* Appends the fields of a table: strings S, whole numbers l, others d, objects F, arrays A, null V, as
 * RabbitMQ makes them. False with a reason when it is deeper than TABLE_DEPTH_MAX, a name is longer than
 * 255 bytes, or it is no object at all; NULL and null are an empty table. */
bool json_in_table(const json_t *object, struct buf *table, const char **reason);

/* The value as compact JSON text; own memory, freed with slice_free. */
struct slice json_in_dump(const json_t *value);
/* NULL when it is no JSON; numbers and strings alone are JSON too. Texts may have zero bytes in them, as
 * names of queues and exchanges may. */
json_t *json_in_parse(struct slice text, char *error, size_t error_size);

#endif
