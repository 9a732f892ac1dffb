/* json_text.h - strings of JSON as slices. */
#ifndef AUTH_JSON_TEXT_H
#define AUTH_JSON_TEXT_H

#include <jansson.h>

#include "base/slice.h"

/* The text of `value`, which keeps it; the empty slice when it is no string, or NULL. */
static inline struct slice json_text(const json_t *value)
{
    return json_is_string(value) ? slice_of(json_string_value(value), json_string_length(value)) : SLICE("");
}

/* The text of a member of `object`, the same way. */
static inline struct slice json_member_text(const json_t *object, const char *name)
{
    return json_text(json_object_get(object, name));
}

#endif
