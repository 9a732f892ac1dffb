/* group.c - which group a message belongs to. */
#include "queue/group.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"
#include "protocol/table.h"

enum { HASH_BYTES = 16 };

static const struct {
    const char *name;
    uint16_t flag;
} properties[] = {
    {"message-id", PROP_message_id}, {"correlation-id", PROP_correlation_id}, {"type", PROP_type},
    {"app-id", PROP_app_id},         {"user-id", PROP_user_id},               {"reply-to", PROP_reply_to},
};

/* Cuts `prefix` off; false when the text does not begin with it, or nothing follows. */
static bool cut(struct slice *text, const char *prefix)
{
    size_t len = strlen(prefix);
    if (text->len <= len || memcmp(text->at, prefix, len) != 0)
        return false;
    *text = slice_of(text->at + len, text->len - len);
    return true;
}

bool group_by_parse(struct slice text, struct group_by *by)
{
    *by = (struct group_by){.source = GROUP_NONE};
    if (slice_is(text, "routing-key")) {
        by->source = GROUP_BY_KEY;
    } else if (cut(&text, "header:")) {
        if (text.len > UINT8_MAX || memchr(text.at, 0, text.len))
            return false; /* no header has such a name */
        by->source = GROUP_BY_HEADER;
        by->header = text;
    } else if (cut(&text, "property:")) {
        for (size_t i = 0; i < array_size(properties); i++)
            if (slice_is(text, properties[i].name)) {
                by->source = GROUP_BY_PROPERTY;
                by->property = properties[i].flag;
            }
    }
    return by->source != GROUP_NONE;
}

static struct slice property_of(const struct props *props, uint16_t flag)
{
    switch (flag) {
    case PROP_message_id: return props->message_id;
    case PROP_correlation_id: return props->correlation_id;
    case PROP_type: return props->type;
    case PROP_app_id: return props->app_id;
    case PROP_user_id: return props->user_id;
    case PROP_reply_to: return props->reply_to;
    default: panic("no property 0x%x names groups", flag);
    }
}

static struct slice header_of(const struct props *props, struct slice name, uint8_t room[GROUP_NAME_MAX])
{
    struct slice rest = props->headers, found, text;
    struct field field;
    int64_t number;
    while (table_next(&rest, &found, &field)) {
        if (!slice_equal(found, name))
            continue;
        if (field_string(&field, &text))
            return text;
        if (!field_integer(&field, &number))
            break;
        int len = snprintf((char *)room, GROUP_NAME_MAX, "%lld", (long long)number);
        return slice_of(room, (size_t)len);
    }
    return SLICE("");
}

/* A long name in few bytes: two of them are told apart by their hashes. */
static struct slice shorten(struct slice name, uint8_t room[GROUP_NAME_MAX])
{
    uint64_t hash[HASH_BYTES / sizeof(uint64_t)];
    assert(name.len > GROUP_NAME_MAX);
    slice_digest(name, hash);
    memcpy(room, name.at, GROUP_NAME_MAX - HASH_BYTES);
    memcpy(room + GROUP_NAME_MAX - HASH_BYTES, hash, HASH_BYTES);
    return slice_of(room, GROUP_NAME_MAX);
}

struct slice group_of(const struct group_by *by, const struct message *m, uint8_t room[GROUP_NAME_MAX])
{
    struct props props;
    struct fault f;
    assert(by->source != GROUP_NONE);
    if (by->source == GROUP_BY_KEY)
        return message_key(m);
    uint16_t needed = by->source == GROUP_BY_HEADER ? PROP_headers : by->property;
    if (!props_have(message_props(m), needed) || !props_decode(message_props(m), &props, &f))
        return SLICE("");
    struct slice name = by->source == GROUP_BY_HEADER ? header_of(&props, by->header, room)
                                                      : property_of(&props, by->property);
    return name.len > GROUP_NAME_MAX ? shorten(name, room) : name;
}
