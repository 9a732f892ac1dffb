/* frame.c - frames are cut out of the input in place (specification, section 4.2.3).
 * A fault here means that the two sides have lost step: no later octet can be trusted. The texts name what
 * came in the form that RabbitMQ uses (rabbit_reader, frame_error): users search for them. */
#include "protocol/frame.h"

#include <stdio.h>

#include "base/assert.h"

enum { SNIPPET_OCTETS = 16 };

/* Whether all are printable, so that they are shown as text. */
static bool is_text(const uint8_t *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (at[i] < ' ' || at[i] > '~' || at[i] == '"' || at[i] == '\\')
            return false;
    return count > 0;
}

/* Writes "all octets = <<1,2>>" or <<"text">>, of a long payload "first 16 octets = <<...>>". */
static void show(struct slice payload, char *text, size_t size)
{
    bool whole = payload.len <= SNIPPET_OCTETS;
    size_t shown = whole ? payload.len : SNIPPET_OCTETS;
    int len = snprintf(text, size, "%s octets = <<", whole ? "all" : "first 16");
    if (is_text(payload.at, shown))
        len += snprintf(text + len, size - (size_t)len, "\"%.*s\"", (int)shown, (const char *)payload.at);
    else
        for (size_t i = 0; i < shown; i++)
            len += snprintf(text + len, size - (size_t)len, i ? ",%u" : "%u", payload.at[i]);
    len += snprintf(text + len, size - (size_t)len, ">>");
    assertf((size_t)len < size, "%d bytes do not fit", len);
}

/* An unknown type, and a heartbeat that carries something (RabbitMQ: unknown_frame for both). */
static bool is_unknown(uint8_t type, uint32_t size)
{
    if (type == FRAME_HEARTBEAT)
        return size != 0;
    return type != FRAME_METHOD && type != FRAME_HEADER && type != FRAME_BODY;
}

/* Type, channel and size from the 7 octets; a frame that is too large is not waited for. */
static bool read_head(struct slice in, uint32_t frame_max, struct frame *frame, uint32_t *payload_size,
                      struct fault *f)
{
    assert(in.len >= FRAME_HEAD_SIZE);
    assertf(frame_max >= FRAME_MIN_SIZE, "frame_max %u", frame_max);
    uint8_t type = in.at[0];
    uint32_t size = load_u32(in.at + 3);
    if (size > frame_max)
        return fault(f, FRAME_ERROR, "type %u, all octets = <<>>: {frame_too_large,%u,%u}", type,
                     size, frame_max - FRAME_OVERHEAD);
    *frame = (struct frame){.type = (enum frame_type)type, .channel = load_u16(in.at + 1)};
    *payload_size = size;
    return true;
}

bool frame_head(struct slice in, uint32_t frame_max, struct frame *frame, uint32_t *payload_size,
                struct fault *f)
{
    if (!read_head(in, frame_max, frame, payload_size, f))
        return false;
    if (is_unknown((uint8_t)frame->type, *payload_size))
        return fault(f, FRAME_ERROR, "type %u, all octets = <<>>: unknown_frame", frame->type);
    return true;
}

static bool refuse_end(const struct frame *frame, uint8_t octet, struct fault *f)
{
    char octets[128];
    show(frame->payload, octets, sizeof(octets));
    return fault(f, FRAME_ERROR, "type %u, %s: {invalid_frame_end_marker,%u}", frame->type, octets,
                 octet);
}

static bool refuse_type(const struct frame *frame, struct fault *f)
{
    char octets[128];
    show(frame->payload, octets, sizeof(octets));
    return fault(f, FRAME_ERROR, "type %u, %s: unknown_frame", frame->type, octets);
}

enum frame_status frame_examine(struct slice in, uint32_t frame_max, struct frame *frame, size_t *used,
                                struct fault *f)
{
    uint32_t size = 0;
    if (in.len < FRAME_HEAD_SIZE)
        return FRAME_NEEDS_MORE;
    if (!read_head(in, frame_max, frame, &size, f))
        return FRAME_BAD;
    if (in.len - FRAME_HEAD_SIZE <= size)
        return FRAME_NEEDS_MORE;
    frame->payload = slice_of(in.at + FRAME_HEAD_SIZE, size);
    uint8_t end = in.at[FRAME_HEAD_SIZE + size];
    if (end != FRAME_END) {
        refuse_end(frame, end, f);
        return FRAME_BAD;
    }
    if (is_unknown((uint8_t)frame->type, size)) { /* only now, as in RabbitMQ, whose text shows what came */
        refuse_type(frame, f);
        return FRAME_BAD;
    }
    *used = (size_t)size + FRAME_OVERHEAD;
    return FRAME_COMPLETE;
}
