/* publish.c - basic.publish: method, header and body become one message (semantics 1.2).
 *
 * The message's block is made when the header comes; a large one grows as bytes arrive, so that a client
 * that only announces a size takes no memory. What becomes of the whole message is in submit.c. */
#include "broker/deliver.h"
#include "broker/publish.h"
#include "broker/submit.h"
#include "protocol/props.h"

/* A body up to this size gets its block at once. */
enum { BODY_AT_ONCE = 128 * 1024 };

/* RabbitMQ's hard cap, above any configuration (K24). */
#define BODY_MAX ((uint64_t)512 * 1024 * 1024)

/* A block up to this size is not counted among what the connection holds: it is soon complete as a rule,
 * and one in each channel is little. */
enum { UNCOUNTED_MAX = 4096 };

static bool count_block(struct channel *ch, uint64_t size, struct fault *f)
{
    return size <= UNCOUNTED_MAX || flow_hold(&ch->conn->flow, size, f);
}

static void uncount_block(struct channel *ch, const struct message *m)
{
    if (message_size(m) > UNCOUNTED_MAX)
        flow_release(&ch->conn->flow, message_size(m));
}

void publish_abandon(struct channel *ch)
{
    struct assembly *a = &ch->assembly;
    if (a->message) {
        stream_recall(&ch->conn->stream); /* it may be read to just now */
        uncount_block(ch, a->message);
        message_unref(&channel_server(ch)->messages, &a->message);
    }
    a->state = ASSEMBLY_IDLE;
}

bool publish_method(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_basic_publish *publish = &m->basic_publish;
    struct assembly *a = &ch->assembly;
    assert(a->state == ASSEMBLY_IDLE && a->message == NULL);
    if (publish->immediate)
        return fault(f, NOT_IMPLEMENTED, "immediate=true");
    a->names.len = 0;
    buf_append_slice(&a->names, publish->exchange);
    buf_append_slice(&a->names, publish->routing_key);
    a->exchange_size = (uint8_t)publish->exchange.len;
    a->key_size = (uint8_t)publish->routing_key.len;
    a->mandatory = publish->mandatory;
    a->state = ASSEMBLY_HEADER;
    return true;
}

bool publish_out_of_place(struct channel *ch, struct fault *f)
{
    if (ch->assembly.state == ASSEMBLY_IDLE)
        return fault(f, UNEXPECTED_FRAME, "expected method frame, got non method frame instead");
    f->class_id = METHOD_basic_publish >> 16, f->method_id = (uint16_t)METHOD_basic_publish;
    if (ch->assembly.state == ASSEMBLY_HEADER)
        return fault(f, UNEXPECTED_FRAME,
                     "expected content header for class 60, got non content header frame instead");
    return fault(f, UNEXPECTED_FRAME, "expected content body, got non content body frame instead");
}

static bool check_header(struct channel *ch, const struct content_header *header, struct fault *f)
{
    const struct config *config = channel_server(ch)->config;
    if (header->class_id != METHOD_basic_publish >> 16)
        return fault(f, UNEXPECTED_FRAME,
                     "expected content header for class 60, got one for class %u instead",
                     header->class_id);
    if (header->weight != 0)
        return publish_out_of_place(ch, f);
    if (header->body_size > BODY_MAX)
        return fault(f, FRAME_ERROR, "content header announces %llu bytes, the maximum is %llu",
                     (unsigned long long)header->body_size, (unsigned long long)BODY_MAX);
    if (header->body_size > config->max_message_size)
        return fault(f, PRECONDITION_FAILED,
                     "message size %llu is larger than configured max size %llu",
                     (unsigned long long)header->body_size,
                     (unsigned long long)config->max_message_size);
    return true;
}

/* Reads what publishing needs of the properties and checks the rest: none, or a delivery mode alone, is
 * what most messages carry. */
static bool read_props(struct slice bytes, uint16_t *flags, bool *persistent, struct fault *f)
{
    struct props props;
    if (bytes.len == 2 && bytes.at[0] == 0 && bytes.at[1] == 0) {
        *flags = 0, *persistent = false;
        return true;
    }
    if (bytes.len == 3 && bytes.at[0] == PROP_delivery_mode >> 8 && bytes.at[1] == 0) {
        *flags = PROP_delivery_mode, *persistent = bytes.at[2] == 2;
        return true;
    }
    if (!props_decode(bytes, &props, f))
        return false;
    *flags = props.flags, *persistent = props.delivery_mode == 2;
    return true;
}

/* What is mandatory may have to go back to its publisher, whose frames it has to fit. */
static bool check_return(struct channel *ch, struct slice props, struct fault *f)
{
    if (!ch->assembly.mandatory || deliver_header_fits(ch, props))
        return true;
    return fault(f, CONTENT_TOO_LARGE,
                 "the message's %zu bytes of properties do not fit the negotiated frame_max = %u: it could "
                 "not be returned",
                 props.len, ch->conn->frame_max);
}

bool publish_header(struct channel *ch, struct slice payload, struct fault *f)
{
    struct assembly *a = &ch->assembly;
    struct content_header header;
    bool persistent;
    if (a->state != ASSEMBLY_HEADER)
        return publish_out_of_place(ch, f);
    if (!content_header_decode(payload, &header))
        return fault(f, SYNTAX_ERROR, "content header of %zu octets", payload.len);
    if (!check_header(ch, &header, f) ||
        !read_props(header.props, &a->prop_flags, &persistent, f))
        return false;
    if (intercept_wants(&channel_server(ch)->intercept, a->prop_flags) &&
        !intercept_props(ch, &header.props, &a->prop_flags, f))
        return false;
    if (!check_return(ch, header.props, f))
        return false;
    struct slice names = buf_slice(&a->names);
    uint64_t room = header.body_size < BODY_AT_ONCE ? header.body_size : BODY_AT_ONCE;
    if (!count_block(ch, offsetof(struct message, bytes) + names.len + header.props.len + room, f))
        return false;
    a->message = message_new(&channel_server(ch)->messages, slice_of(names.at, a->exchange_size),
                             slice_of(names.at + a->exchange_size, a->key_size), header.props, room);
    a->message->persistent = persistent;
    a->total = header.body_size;
    a->filled = 0;
    a->state = ASSEMBLY_BODY;
    return a->total > 0 || publish_body_end(ch, f);
}

/* Doubles the block until `size` bytes of body fit. */
static bool make_room(struct channel *ch, uint64_t size, struct fault *f)
{
    struct assembly *a = &ch->assembly;
    uint64_t room = a->message->body_size;
    if (size <= room)
        return true;
    while (room < size)
        room *= 2;
    if (room > a->total)
        room = a->total;
    size_t old_size = message_size(a->message);
    static_assert((int)BODY_AT_ONCE > (int)UNCOUNTED_MAX, "a block that grows is counted already");
    if (!flow_hold(&ch->conn->flow, room - a->message->body_size, f))
        return false;
    a->message = slab_grow(&channel_server(ch)->messages, a->message, old_size,
                           old_size + (room - a->message->body_size));
    a->message->body_size = (uint32_t)room;
    return true;
}

bool publish_body(struct channel *ch, struct slice piece, struct fault *f)
{
    struct assembly *a = &ch->assembly;
    if (a->state != ASSEMBLY_BODY)
        return publish_out_of_place(ch, f);
    if (piece.len > a->total - a->filled)
        return fault(f, FRAME_ERROR, "content body frame exceeds remaining content size");
    if (!make_room(ch, a->filled + piece.len, f))
        return false;
    memcpy(message_body_at(a->message) + a->filled, piece.at, piece.len);
    a->filled += piece.len;
    return true;
}

/* A message that was not refused but has to wait stays in the assembly. Returns false, as its caller
 * does. */
static bool keep_whole(struct channel *ch, struct message *m)
{
    if (!m)
        return false;
    if (message_size(m) > UNCOUNTED_MAX)
        ch->conn->flow.held += message_size(m); /* as it was a moment ago */
    ch->assembly.message = m;
    ch->assembly.state = ASSEMBLY_WHOLE;
    return false;
}

bool publish_body_end(struct channel *ch, struct fault *f)
{
    struct assembly *a = &ch->assembly;
    assert(a->state == ASSEMBLY_BODY);
    if (a->filled < a->total)
        return true;
    struct message *m = a->message;
    assert(m->body_size == a->total);
    a->message = NULL;
    a->state = ASSEMBLY_IDLE;
    uncount_block(ch, m);
    if (!list_linked(&ch->conn->flow.publishing))
        alarm_publishes(ch->conn);
    return submit_message(ch, &m, f) || keep_whole(ch, m);
}

void publish_resume(struct connection *conn)
{
    struct channel *ch = connection_channel(conn, conn->login.asked_channel);
    struct fault f;
    if (!ch || ch->assembly.state != ASSEMBLY_WHOLE)
        return;
    ch->assembly.state = ASSEMBLY_BODY;
    fault_init(&f);
    f.class_id = METHOD_basic_publish >> 16, f.method_id = (uint16_t)METHOD_basic_publish;
    if (!publish_body_end(ch, &f) && f.code != 0)
        connection_fault(conn, ch, &f);
}
