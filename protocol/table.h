/* table.h - field tables (specification, section 4.2.5.5 with RabbitMQ's types): checked, walked, searched,
 * compared and built in place. A table here is the slice of its fields, without the length prefix.
 * Types: t b B s u I i l L f d D T S A F V x. */
#ifndef PROTOCOL_TABLE_H
#define PROTOCOL_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

enum { TABLE_DEPTH_MAX = 64 };

struct field {
    char type;          /* as on the wire */
    struct slice bytes; /* the raw value: numbers big-endian, S and x without their length prefix,
                           A and F the nested fields without the length prefix */
};

/* True when every name and value is complete, known and at most TABLE_DEPTH_MAX deep (the table itself is
 * the first level; arrays count). Linear in the size. What reads a table below asserts that it passed. */
bool table_check(struct slice table);
/* True when it is still not too deep as a field of tables that are `levels` deep: to be asked before a
 * client's table is put into one of our own. */
bool table_fits_below(struct slice table, int levels);

/* Walks a checked table: while (table_next(&rest, &name, &field)) … */
bool table_next(struct slice *rest, struct slice *name, struct field *field);
/* Walks a checked array (a field of type 'A'). */
bool array_next(struct slice *rest, struct field *field);
/* The first field of that name; false when there is none. */
bool table_find(struct slice table, const char *name, struct field *field);

/* Any integer type as int64; 'L' is read as signed, as RabbitMQ does. False for others ('T' too). */
bool field_integer(const struct field *field, int64_t *value);
/* The same, or text of up to 18 decimal digits. */
bool field_integer_or_text(const struct field *field, int64_t *value);
/* 't' only. */
bool field_bool(const struct field *field, bool *value);
/* 'S' only ('x' is not a string). */
bool field_string(const struct field *field, struct slice *value);
/* RabbitMQ's name of the type for error texts: longstr, signedint, bool, array, table, … */
const char *field_type_name(char type);

/* Equal by value across widths and number types: int32 1 = int64 1 = double 1.0 = decimal 1.0 = timestamp 1,
 * but not = "1", and never by rounding. Any true octet equals any other; 'x' and 'S' are compared by their
 * octets, as in RabbitMQ. Arrays compare element by element, tables as table_equal. */
bool field_equal(const struct field *a, const struct field *b);
/* Same names with equal values, in any order (binding identity, semantics 1.3). */
bool table_equal(struct slice a, struct slice b);

/* Builders: append one field to a table under construction (buf holds the fields, no length prefix). */
void table_put_bool(struct buf *table, const char *name, bool value);
void table_put_string(struct buf *table, const char *name, struct slice value);
void table_put_int(struct buf *table, const char *name, int64_t value); /* type l */
void table_put_time(struct buf *table, const char *name, uint64_t seconds); /* type T */
/* `items`: each a type octet and a value. */
void table_put_array(struct buf *table, const char *name, struct slice items);
void table_put_table(struct buf *table, const char *name, struct slice fields);
/* The same for an array, whose items have no names. */
void array_put_string(struct buf *array, struct slice value);
void array_put_table(struct buf *array, struct slice fields);

#endif
