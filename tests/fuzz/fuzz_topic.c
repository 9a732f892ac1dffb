/* fuzz_topic.c - the topic exchange: patterns that are bound and unbound and keys that are routed, any bytes,
 * against the plainest matcher there is. An input is a list of steps: u8 what (bit 0: route, else bind; bits
 * 1-4 the queue; binding again unbinds), u8 length, and the pattern or key. */
#include "base/assert.h"
#include "base/mem.h"
#include "exchange/route.h"
#include "tests/fuzz/fuzz.h"

enum { QUEUES = 16, STEPS_MAX = 20000 };

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\0\5a.*.c" "\2\3#.c" "\4\1#" "\1\5a.b.c" "\1\0" "\0\5a.*.c" "\1\5a.b.c"),
    FUZZ_SEED("\0\7#.*.#.a" "\2\5*.#.*" "\1\7a.a.a.a" "\1\1." "\1\2.."),
    FUZZ_SEED("\0\x0f#.#.#.#.#.#.#.#" "\2\x0f#.a.#.a.#.a.#.b" "\1\x0f" "a.a.a.a.a.a.a.a"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

struct bound {
    struct binding *binding;
    struct slice key;
};

struct stage {
    struct map exchanges;
    struct router router;
    struct dest queues[QUEUES];
    struct bound bound[QUEUES];
    struct exchange *x;
};

/* One word off the front; false when none is left. `more`: a point was behind it. */
static bool next_word(struct slice *rest, bool *more, struct slice *word)
{
    if (!*more)
        return false;
    const uint8_t *end = rest->len ? memchr(rest->at, '.', rest->len) : NULL;
    *word = slice_of(rest->at, end ? (size_t)(end - rest->at) : rest->len);
    *more = end != NULL;
    *rest = end ? slice_of(end + 1, rest->len - word->len - 1) : slice_of(rest->at + rest->len, 0);
    return true;
}

struct words {
    struct slice rest;
    bool more;
};

static bool plain_match(struct words pattern, struct words key, unsigned *steps)
{
    struct slice wanted, word;
    if (++*steps > STEPS_MAX)
        return false;
    if (!next_word(&pattern.rest, &pattern.more, &wanted))
        return !key.more;
    if (slice_is(wanted, "#")) {
        if (plain_match(pattern, key, steps))
            return true;
        while (next_word(&key.rest, &key.more, &word))
            if (plain_match(pattern, key, steps))
                return true;
        return false;
    }
    return next_word(&key.rest, &key.more, &word) && (slice_is(wanted, "*") || slice_equal(wanted, word)) &&
           plain_match(pattern, key, steps);
}

static void toggle(struct stage *s, size_t queue, struct slice key)
{
    struct bound *b = &s->bound[queue];
    struct fault f;
    if (b->binding) {
        exchange_unbind(&b->binding);
    } else {
        b->binding = exchange_bind(s->x, &s->queues[queue], key, (struct slice){0}, &f);
        assert(b->binding);
        b->key = key;
    }
    router_changed(&s->router);
}

static void check_route(struct stage *s, struct slice key)
{
    struct route_input input = {.keys = &key, .key_count = 1};
    const struct route_set *set = route(&s->router, s->x, &input);
    bool got[QUEUES] = {0};
    for (size_t i = 0; i < set->size; i++)
        got[set->queues[i] - s->queues] = true;
    for (size_t i = 0; i < QUEUES; i++) {
        struct words pattern = {s->bound[i].key, s->bound[i].key.len > 0}, words = {key, key.len > 0};
        unsigned steps = 0;
        bool wanted = s->bound[i].binding && plain_match(pattern, words, &steps);
        assertf(steps > STEPS_MAX || wanted == got[i], "queue %zu, '%.*s'", i, SLICE_ARG(key));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stage s = {0};
    map_init(&s.exchanges, 1);
    router_init(&s.router, &s.exchanges);
    s.x = exchange_new(SLICE("t"), exchange_type_find(SLICE("topic")), (struct slice){0}, 1, 1);
    for (size_t i = 0; i < QUEUES; i++)
        dest_init(&s.queues[i], DEST_QUEUE, SLICE("q"));
    for (size_t at = 0; at + 2 <= size;) {
        uint8_t what = data[at];
        size_t len = data[at + 1] < size - at - 2 ? data[at + 1] : size - at - 2;
        struct slice key = slice_of(data + at + 2, len);
        if (what & 1)
            check_route(&s, key);
        else
            toggle(&s, what >> 1 & 15, key);
        at += 2 + len;
    }
    exchange_free(&s.x);
    router_free(&s.router);
    map_free(&s.exchanges);
    return 0;
}
