/* fuzz_headers.c - the headers exchange: any table as arguments of a binding and any table as headers of a
 * message, against the rules of a match. An input: u8 how the first one is bound, u16 length of the
 * arguments, the arguments, the headers. */
#include "base/assert.h"
#include "base/mem.h"
#include "exchange/route.h"
#include "protocol/table.h"
#include "tests/fuzz/fuzz.h"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\0\0\x17" "\7x-matchS\0\0\0\3any\1aI\0\0\0\1" "\1al\0\0\0\0\0\0\0\1" "\1bV"),
    FUZZ_SEED("\1\0\x05" "\1at\1\0" "\1at\1"),
    FUZZ_SEED("\0\0\x1a" "\7x-matchS\0\0\0\x0a" "all-with-x\1aV" "\1aF\0\0\0\3\1bV"),
    FUZZ_SEED("\0\0\x0a" "\1aA\0\0\0\2t\1" "\1aA\0\0\0\2t\2"),
    FUZZ_SEED("\0\0\x0a" "\1ad\x3f\xf0\0\0\0\0\0\0" "\1aD\1\0\0\0\x0a"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

/* Of several headers with one name the first counts. */
static bool has_pair(struct slice headers, struct slice wanted, const struct field *value)
{
    struct slice name;
    struct field field;
    while (table_next(&headers, &name, &field))
        if (slice_equal(name, wanted))
            return value->type == 'V' || field_equal(value, &field);
    return false;
}

static bool plain_match(struct slice args, struct slice headers)
{
    struct slice mode = SLICE("all"), name;
    struct field field;
    size_t pairs = 0, met = 0;
    if (table_find(args, "x-match", &field))
        mode = field.bytes;
    bool any = slice_starts_with(mode, "any"), with_x = mode.len > 3;
    while (table_next(&args, &name, &field)) {
        if (slice_is(name, "x-match") || (!with_x && slice_starts_with(name, "x-")))
            continue;
        pairs++;
        met += has_pair(headers, name, &field);
    }
    return any ? met > 0 : met == pairs;
}

static void try_match(struct slice args, struct slice headers)
{
    struct map exchanges;
    struct router router;
    struct dest queue;
    struct fault f = {0};
    struct slice key = SLICE("");
    map_init(&exchanges, 1);
    router_init(&router, &exchanges);
    dest_init(&queue, DEST_QUEUE, SLICE("q"));
    struct exchange *x =
        exchange_new(SLICE("h"), exchange_type_find(SLICE("headers")), (struct slice){0}, 1, 1);
    struct binding *binding = exchange_bind(x, &queue, key, args, &f);
    assert(binding || f.code == PRECONDITION_FAILED);
    if (binding) {
        struct route_input input = {.keys = &key, .key_count = 1, .headers = headers};
        const struct route_set *set = route(&router, x, &input);
        assertf((set->size == 1) == plain_match(args, headers), "matched %zu", set->size);
        assert(exchange_find_binding(x, &queue, key, args) == binding);
        exchange_unbind(&binding);
    }
    exchange_free(&x);
    router_free(&router);
    map_free(&exchanges);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    size_t len = (size_t)data[1] << 8 | data[2];
    if (len > size - 3)
        return 0;
    struct slice args = slice_of(data + 3, len), headers = slice_of(data + 3 + len, size - 3 - len);
    if (table_check(args) && table_check(headers))
        try_match(args, headers);
    return 0;
}
