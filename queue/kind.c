/* kind.c - what a queue is, read from its arguments. */
#include "queue/kind.h"

#include "base/assert.h"
#include "base/mem.h"
#include "protocol/table.h"

static const char *const names[] = {[KIND_CLASSIC] = "classic", [KIND_QUORUM] = "quorum"};

const char *kind_type_name(enum kind_type type)
{
    assert((size_t)type < array_size(names));
    return names[type];
}

bool kind_type_find(struct slice name, enum kind_type *type)
{
    for (size_t i = 0; i < array_size(names); i++) {
        if (!slice_is(name, names[i]))
            continue;
        *type = (enum kind_type)i;
        return true;
    }
    return false;
}

static void read_groups(struct kind *kind, struct slice args)
{
    struct field field;
    struct slice text;
    int64_t max = GROUP_MAX_DEFAULT;
    if (!table_find(args, "x-group-by", &field) || !field_string(&field, &text) ||
        !group_by_parse(text, &kind->group_by))
        return;
    if (table_find(args, "x-group-max", &field))
        field_integer(&field, &max);
    assertf(max > 0 && max <= GROUP_MAX, "x-group-max of %lld passed the check", (long long)max);
    kind->ordering = KIND_GROUPS;
    kind->priority_max = 0;
    kind->group_max = (unsigned)max;
}

struct kind kind_of_args(struct slice args)
{
    struct kind kind = {.type = KIND_CLASSIC};
    struct field field;
    struct slice text;
    int64_t max;
    if (table_find(args, "x-queue-type", &field) && field_string(&field, &text))
        kind_type_find(text, &kind.type);
    if (table_find(args, "x-single-active-consumer", &field) && !field_bool(&field, &kind.single_active))
        kind.single_active = false;
    if (kind.type == KIND_QUORUM) {
        kind.priority_max = KIND_QUORUM_PRIORITY_MAX;
        kind.priority_missing = KIND_QUORUM_PRIORITY_MISSING;
    } else if (table_find(args, "x-max-priority", &field) && field_integer(&field, &max)) {
        assertf(max >= 0 && max <= UINT8_MAX, "x-max-priority of %lld passed the check", (long long)max);
        kind.priority_max = (uint8_t)max;
    }
    if (kind.priority_max > 0)
        kind.ordering = KIND_LEVELS;
    read_groups(&kind, args);
    return kind;
}
