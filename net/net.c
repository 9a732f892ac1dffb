/* net.c - what all streams of a server share.
 *
 * Owner: the server; its streams come and go before it. One thread. The lists are taken as they are
 * when a round starts: what handlers add meanwhile belongs to the next round, so a handler that
 * always adds more cannot hold the turn. */
#include "net/net.h"

#include "base/assert.h"
#include "base/mem.h"
#include "net/stream.h"

void net_init(struct net *net)
{
    *net = (struct net){.read_buffer_size = NET_READ_SIZE, .read_max = NET_READ_SIZE};
    net->read_buffer = mem_alloc(net->read_buffer_size);
    list_init(&net->dirty);
    list_init(&net->deferred);
    list_init(&net->free_chunks);
}

void net_set_read_max(struct net *net, size_t size)
{
    assert(size > 0 && size <= NET_READ_SIZE);
    net->read_max = size;
    net->full_reads = 0;
}

static void free_spare_chunk(struct net *net)
{
    struct net_chunk *chunk = list_first(&net->free_chunks, struct net_chunk, link);
    list_remove(&chunk->link);
    net->free_chunk_count--;
    mem_free(chunk);
}

void net_free(struct net *net)
{
    assertf(net_is_idle(net), "a stream outlives its net");
    assert(!net->reading);
    while (net->free_chunk_count > 0)
        free_spare_chunk(net);
    assert(list_empty(&net->free_chunks));
    mem_free(net->read_buffer);
    mem_free(net->scratch);
    *net = (struct net){0};
}

void net_flush_all(struct net *net)
{
    struct list round, *node;
    list_init(&round);
    list_splice_back(&round, &net->dirty);
    while ((node = list_pop_front(&round)))
        stream_flush(container_of(node, struct stream, dirty));
}

void net_run_deferred(struct net *net)
{
    struct list round, *node;
    list_init(&round);
    list_splice_back(&round, &net->deferred);
    while ((node = list_pop_front(&round)))
        stream_offer_again(container_of(node, struct stream, deferred));
}

struct net_chunk *net_chunk_take(struct net *net, size_t size)
{
    size_t usual = NET_CHUNK_SIZE - sizeof(struct net_chunk);
    struct net_chunk *chunk;
    if (size <= usual && net->free_chunk_count > 0) {
        chunk = list_first(&net->free_chunks, struct net_chunk, link);
        list_remove(&chunk->link);
        net->free_chunk_count--;
    } else {
        size_t capacity = size > usual ? size : usual;
        chunk = mem_alloc(sizeof(*chunk) + capacity);
        *chunk = (struct net_chunk){.capacity = capacity};
    }
    assert(chunk->parts == 0 && chunk->capacity >= size);
    return chunk;
}

void net_chunk_give(struct net *net, struct net_chunk **chunk)
{
    struct net_chunk *given = *chunk;
    *chunk = NULL;
    assert(given->parts == 0);
    bool usual = given->capacity == NET_CHUNK_SIZE - sizeof(*given);
    if (!usual || net->free_chunk_count >= NET_SPARE_CHUNKS) {
        mem_free(given);
        return;
    }
    list_push_front(&net->free_chunks, &given->link);
    net->free_chunk_count++;
}

uint8_t *net_scratch(struct net *net, size_t size)
{
    if (size > net->scratch_size) {
        mem_free(net->scratch);
        net->scratch_size = size < 4096 ? 4096 : size;
        net->scratch = mem_alloc(net->scratch_size);
    }
    return net->scratch;
}
