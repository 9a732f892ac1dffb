/* output.c - the bytes a stream still has to write.
 *
 * Owner: the stream that embeds it.
 * A list of parts. A part is a run of copied bytes and, after it, at most one reference to bytes
 * kept by somebody else. Parts lie in pooled chunks, each before its own run, so neither a run nor
 * a reference costs an allocation of its own:
 *
 *   chunk: | part | run ... | part | run ... | room |
 *
 * Invariants: only the last part grows (`filling`), at `room`; its size is made true by
 * measure(). `pending` is the sum of what all parts have left. A chunk goes back to the pool with
 * its last part. When all is written there are no parts, so an idle stream holds no chunk. */
#include "net/output.h"

#include <errno.h>

#include "net/net.h"
#include "net/stream.h"

enum {
    IOVECS_MAX = 64,   /* in one writev */
    ROOM_USEFUL = 512, /* less room than this is not worth a part */
};

struct out_part {
    struct list link; /* in output.parts */
    struct net_chunk *chunk;
    const uint8_t *at; /* what is left of the run */
    size_t size;
    struct slice ref;        /* what is left of the reference */
    output_release *release; /* NULL = no reference */
    void *arg, *owner;
};

void output_init(struct output *output)
{
    *output = (struct output){0};
    list_init(&output->parts);
}

/* Makes the size of the growing part true. */
static void measure(struct output *output)
{
    if (output->filling)
        output->filling->size = (size_t)(output->room - output->filling->at);
}

void output_seal(struct output *output)
{
    measure(output);
    output->filling = NULL;
    output->room = NULL;
    output->room_size = 0;
}

static struct out_part *first_part(struct output *output)
{
    return list_empty(&output->parts) ? NULL : list_first(&output->parts, struct out_part, link);
}

/* Starts a part at `at` in the chunk; the rest of the chunk is its room. */
static void start_part(struct output *output, struct net_chunk *chunk, uint8_t *at)
{
    uint8_t *end = chunk->bytes + chunk->capacity;
    assert(at >= chunk->bytes && (uintptr_t)at % _Alignof(struct out_part) == 0);
    assert(output->filling == NULL && (size_t)(end - at) >= sizeof(struct out_part));
    struct out_part *part = (struct out_part *)(void *)at;
    output->room = at + sizeof(*part);
    output->room_size = (size_t)(end - output->room);
    *part = (struct out_part){.chunk = chunk, .at = output->room};
    chunk->parts++;
    list_push_back(&output->parts, &part->link);
    output->filling = part;
}

uint8_t *output_reserve_more(struct output *output, struct net *net, size_t size)
{
    size_t need = size + sizeof(struct out_part);
    assert(need > size);
    output_seal(output);
    struct net_chunk *chunk = net_chunk_take(net, need);
    start_part(output, chunk, chunk->bytes);
    assert(output->room_size >= size);
    return output->room;
}

/* Ends the growing part and starts another in what its chunk has left, if that is worth it. */
static void start_part_behind(struct output *output)
{
    struct net_chunk *chunk = output->filling->chunk;
    size_t align = _Alignof(max_align_t);
    size_t used = ((size_t)(output->room - chunk->bytes) + align - 1) & ~(align - 1);
    output_seal(output);
    if (used + sizeof(struct out_part) + ROOM_USEFUL <= chunk->capacity)
        start_part(output, chunk, chunk->bytes + used);
}

void output_add_ref(struct output *output, struct net *net, struct slice bytes,
                    output_release *release, void *arg, void *owner)
{
    assert(bytes.len > 0 && release != NULL);
    if (!output->filling)
        output_reserve_more(output, net, 0);
    struct out_part *part = output->filling;
    assert(part->release == NULL);
    part->ref = bytes;
    part->release = release;
    part->arg = arg;
    part->owner = owner;
    output->pending += bytes.len;
    start_part_behind(output);
}

/* Takes the part out and releases what it refers to; its memory is gone afterwards. */
static void drop_part(struct output *output, struct net *net, struct out_part *part)
{
    output_release *release = part->release;
    void *arg = part->arg, *owner = part->owner;
    struct net_chunk *chunk = part->chunk;
    assert(part != output->filling && chunk->parts > 0);
    list_remove(&part->link);
    if (--chunk->parts == 0)
        net_chunk_give(net, &chunk);
    if (release)
        release(arg, owner);
}

void output_drop(struct output *output, struct net *net)
{
    struct out_part *part;
    output_seal(output);
    output->pending = 0;
    while ((part = first_part(output)))
        drop_part(output, net, part);
}

/* What there is of `run`, as far as *size may still grow to `share`. */
static int gather_run(struct iovec *iovec, const uint8_t *at, size_t len, size_t share, size_t *size)
{
    size_t take = len < share - *size ? len : share - *size;
    if (take == 0)
        return 0;
    *iovec = (struct iovec){(void *)(uintptr_t)at, take};
    *size += take;
    return 1;
}

int output_gather(struct output *output, struct iovec *iovecs, int max, size_t share, size_t *size)
{
    int count = 0;
    *size = 0;
    measure(output);
    list_each(node, &output->parts) {
        const struct out_part *part = container_of(node, struct out_part, link);
        if (count + 2 > max || *size == share)
            break;
        count += gather_run(&iovecs[count], part->at, part->size, share, size);
        count += gather_run(&iovecs[count], part->ref.at, part->ref.len, share, size);
    }
    return count;
}

/* Takes up to `size` bytes off a run; returns how many. */
static size_t advance(const uint8_t **at, size_t *len, size_t size)
{
    if (size > *len)
        size = *len;
    if (size > 0) { /* an absent reference is at NULL, which must not be added to */
        *at += size;
        *len -= size;
    }
    return size;
}

void output_consume(struct output *output, struct net *net, size_t size)
{
    assertf(size <= output->pending, "%zu written of %zu", size, output->pending);
    output->pending -= size;
    struct out_part *part;
    while ((part = first_part(output)) && part != output->filling) {
        size -= advance(&part->at, &part->size, size);
        size -= advance(&part->ref.at, &part->ref.len, size);
        if (part->size + part->ref.len > 0)
            break;
        drop_part(output, net, part);
    }
    if (size > 0) {
        assert(part != NULL && part == output->filling && size <= part->size);
        advance(&part->at, &part->size, size);
    }
}

int output_write(struct output *output, struct net *net, const struct transport *transport,
                 void *io, size_t share, uint64_t *sent)
{
    struct iovec iovecs[IOVECS_MAX];
    while (output->pending > 0 && share > 0) {
        size_t size;
        int count = output_gather(output, iovecs, IOVECS_MAX, share, &size);
        assert(count > 0 && size > 0);
        ssize_t written = transport->writev(io, iovecs, count);
        if (written == -EAGAIN)
            return 0;
        if (written < 0)
            return (int)written;
        assertf((size_t)written <= size, "%zd written of %zu", written, size);
        output_consume(output, net, (size_t)written);
        *sent += (uint64_t)written;
        if ((size_t)written < size)
            return 0; /* it is full: asking again would only say EAGAIN */
        share -= size;
    }
    if (output->pending == 0)
        output_drop(output, net); /* parts that were started and not used */
    return 0;
}

void output_each_ref(const struct output *output, void (*each)(void *arg, void *owner), void *arg)
{
    list_each(node, &output->parts) {
        const struct out_part *part = container_of(node, struct out_part, link);
        if (part->release)
            each(arg, part->owner);
    }
}
