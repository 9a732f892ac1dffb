/* body.c - a body frame that is not all there is taken in pieces, so that a large body is copied once at
 * most: into its message, or read straight to there by the stream.
 *
 * Owner: the connection. Invariants: while a stream has a place its channel is in ASSEMBLY_BODY, with the
 * message the place is in: publish_abandon recalls it before it lets the message go. */
#include "broker/body.h"

#include "broker/publish.h"

/* The channel whose body frame is being taken in pieces, NULL when it no longer wants it. */
static struct channel *taker(struct connection *conn)
{
    struct channel *ch = connection_channel(conn, conn->body_channel);
    return ch && ch->state == CHANNEL_OPEN && ch->assembly.state == ASSEMBLY_BODY ? ch : NULL;
}

size_t body_take(struct connection *conn, struct slice in)
{
    struct fault f;
    struct channel *ch = taker(conn);
    fault_init(&f);
    size_t payload = conn->body_left - 1; /* the end octet is counted too */
    size_t piece = in.len < payload ? in.len : payload;
    bool ok = !ch || publish_body(ch, slice_of(in.at, piece), &f);
    conn->body_left -= (uint32_t)piece;
    size_t used = piece;
    if (ok && conn->body_left == 1 && used < in.len) {
        conn->body_left = 0;
        ok = in.at[used] == FRAME_END
                 ? !ch || publish_body_end(ch, &f)
                 : fault(&f, FRAME_ERROR, "type %u: {invalid_frame_end_marker,%u}", FRAME_BODY, in.at[used]);
        used++;
    }
    if (!ok && !connection_is_asked(conn, conn->body_channel, &f))
        connection_fault(conn, ch, &f);
    return used;
}

size_t body_start(struct connection *conn, struct slice in)
{
    struct frame head;
    struct fault f;
    uint32_t size;
    if (in.len < FRAME_HEAD_SIZE || in.at[0] != FRAME_BODY || conn->state != CONNECTION_OPEN)
        return 0;
    if (!frame_head(in, conn->frame_max, &head, &size, &f))
        return 0;
    struct channel *ch = connection_channel(conn, head.channel);
    if (!ch || ch->state != CHANNEL_OPEN || ch->assembly.state != ASSEMBLY_BODY)
        return 0;
    if (size > ch->assembly.message->body_size - ch->assembly.filled)
        return 0; /* refused as a whole when it is there */
    conn->body_channel = head.channel;
    conn->body_left = size + 1;
    return FRAME_HEAD_SIZE;
}

uint8_t *body_place(struct stream *stream, size_t *size)
{
    struct connection *conn = connection_of_stream(stream);
    struct channel *ch = conn->body_left > STREAM_PLACE_MIN ? taker(conn) : NULL;
    if (!ch)
        return NULL;
    struct assembly *a = &ch->assembly;
    size_t room = a->message->body_size - (size_t)a->filled, payload = conn->body_left - 1;
    if (room > payload)
        room = payload;
    if (room < STREAM_PLACE_MIN)
        return NULL; /* the block has to grow first */
    *size = room;
    return message_body_at(a->message) + a->filled;
}

void body_placed(struct stream *stream, size_t size)
{
    struct connection *conn = connection_of_stream(stream);
    struct channel *ch = taker(conn);
    assert(ch != NULL && size < conn->body_left);
    ch->assembly.filled += size;
    assert(ch->assembly.filled <= ch->assembly.message->body_size);
    conn->body_left -= (uint32_t)size;
}
