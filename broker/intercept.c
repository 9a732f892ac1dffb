/* intercept.c - what the server changes in a message's properties as it comes in.
 *
 * It happens before the message's block is made, so that nothing is copied twice. Messages without a reply_to
 * cost nothing while no interceptor is configured. */
#include "broker/intercept.h"

#include "broker/channel.h"
#include "broker/reply.h"
#include "protocol/table.h"

void intercept_open(struct server *s)
{
    const struct config *config = s->config;
    if (config->intercept_timestamp != OVERWRITE_NONE)
        s->intercept.always |= INTERCEPT_TIMESTAMP;
    if (config->intercept_routing_node != OVERWRITE_NONE)
        s->intercept.always |= INTERCEPT_ROUTING_NODE;
}

void intercept_free(struct intercept *intercept)
{
    buf_free(&intercept->props);
    buf_free(&intercept->headers);
}

/* A header that an interceptor sets. */
struct setting {
    const char *name;
    enum config_overwrite overwrite; /* NONE: it sets nothing */
    bool stays;                      /* the message has it, and keeps it */
};

/* Copies the headers, but for those that are to be overwritten. */
static void copy_headers(struct buf *to, struct slice headers, struct setting *settings, size_t count)
{
    struct slice rest = headers, name;
    struct field field;
    to->len = 0;
    const uint8_t *from = rest.at;
    while (table_next(&rest, &name, &field)) {
        bool drop = false;
        for (size_t i = 0; i < count; i++) {
            if (settings[i].overwrite == OVERWRITE_NONE || !slice_is(name, settings[i].name))
                continue;
            drop = settings[i].overwrite == OVERWRITE_TRUE;
            settings[i].stays = !drop;
        }
        if (!drop)
            buf_append(to, from, (size_t)(rest.at - from));
        from = rest.at;
    }
}

static bool is_to_be_set(const struct setting *setting)
{
    return setting->overwrite != OVERWRITE_NONE && !setting->stays;
}

static void set_headers(struct server *s, struct props *props)
{
    enum { TIMESTAMP, NODE };
    struct buf *headers = &s->intercept.headers;
    struct setting settings[] = {{"timestamp_in_ms", s->config->intercept_timestamp, false},
                                 {"x-routed-by", s->config->intercept_routing_node, false}};
    uint64_t now_ms = clock_wall_ms(&s->clock);
    copy_headers(headers, props->headers, settings, array_size(settings));
    if (is_to_be_set(&settings[TIMESTAMP]))
        table_put_int(headers, settings[TIMESTAMP].name, (int64_t)now_ms);
    if (is_to_be_set(&settings[NODE])) {
        char node[SERVER_NODE_SIZE];
        server_node(node);
        table_put_string(headers, settings[NODE].name, slice_of_string(node));
    }
    if (settings[TIMESTAMP].overwrite == OVERWRITE_TRUE ||
        (settings[TIMESTAMP].overwrite == OVERWRITE_FALSE && !(props->flags & PROP_timestamp))) {
        props->flags |= PROP_timestamp;
        props->timestamp = now_ms / 1000;
    }
    props->flags |= PROP_headers;
    props->headers = buf_slice(headers);
}

bool intercept_props(struct channel *ch, struct slice *bytes, uint16_t *flags, struct fault *f)
{
    struct server *s = channel_server(ch);
    struct props props;
    bool decoded = props_decode(*bytes, &props, f);
    assertf(decoded, "properties that passed once: %s", f->text);
    if (props.flags & PROP_reply_to && reply_is_queue(props.reply_to)) {
        if (!reply_address(ch, &props.reply_to, f))
            return false;
    } else if (!s->intercept.always) {
        return true;
    }
    if (s->intercept.always)
        set_headers(s, &props);
    s->intercept.props.len = 0;
    props_encode(&s->intercept.props, &props);
    *bytes = buf_slice(&s->intercept.props);
    *flags = props.flags;
    return true;
}
