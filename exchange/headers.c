/* headers.c - the headers exchange: a message goes where its headers satisfy a binding's arguments
 * (specification, section 3.1.3.4, with RabbitMQ's four values of x-match).
 *
 * A binding's arguments are pairs to be met: `x-match` is none, and those that start with "x-" are
 * none either unless x-match ends in "-with-x". A void value asks for presence only; other values
 * compare with field_equal.
 *
 * The index: every pair has a bucket by the hash of its name and value (or of name and presence).
 * 'any' hangs in the bucket of each of its pairs, 'all' in that of one pair, the rarest so far; so a
 * message looks only at bindings that share at least one pair with it, and each is weighed once. */
#include "base/map.h"
#include "exchange/digest.h"
#include "exchange/route.h"
#include "exchange/types.h"

/* A pair takes about so many, as far as it is a matter of how long looking at them takes. */
enum { PAIR_OCTETS = 16 };

/* Instead of the hash of a value, for a pair that asks for presence. */
#define PRESENT UINT64_C(0x70726573656E7421)

/* The bindings that hang on one pair. */
struct bucket {
    uint64_t digest;     /* of the pair; the key in headers.buckets */
    struct list entries; /* entry.link */
    size_t size;
};

struct entry {
    struct list link;
    struct bucket *bucket;
    struct rule *rule;
};

/* What a binding asks for; binding.index_node. */
struct rule {
    struct binding *binding;
    uint64_t stamp; /* of the match that weighed it last */
    bool any, with_x;
    size_t entry_count;
    struct entry entries[];
};

struct header {
    uint64_t name_hash;
    struct slice name;
    struct field field;
};

/* A message's headers by name; of several with one name the first. Keeps its memory. */
struct header_table {
    struct header *headers;
    size_t size, capacity;
    uint32_t *slots; /* number of a header + 1, 0 = free; slot_count of them are in use */
    size_t slot_count, slot_capacity;
};

struct headers {
    struct map buckets;
    struct list always; /* binding.in_index: 'all' without pairs */
    struct header_table message;
    uint64_t stamp, seed;
};

/* A walk over the pairs of a binding. */
struct pairs {
    struct slice rest;
    bool with_x;
    struct slice name;
    struct field value;
    uint64_t name_hash;
};

static bool next_pair(struct pairs *pairs, uint64_t seed)
{
    while (table_next(&pairs->rest, &pairs->name, &pairs->value)) {
        if (slice_is(pairs->name, "x-match") ||
            (slice_starts_with(pairs->name, "x-") && !pairs->with_x))
            continue;
        pairs->name_hash = slice_hash(pairs->name, seed);
        return true;
    }
    return false;
}

static struct pairs pairs_of(const struct rule *rule)
{
    return (struct pairs){.rest = rule->binding->args, .with_x = rule->with_x};
}

static uint64_t pair_digest(const struct pairs *pair, uint64_t seed)
{
    bool presence = pair->value.type == 'V';
    return digest_pair(pair->name_hash, presence ? PRESENT : digest_field(&pair->value, seed));
}

static void *headers_new(uint64_t seed, struct slice args)
{
    struct headers *headers = mem_zalloc(sizeof(*headers));
    (void)args;
    headers->seed = seed;
    map_init(&headers->buckets, seed);
    list_init(&headers->always);
    return headers;
}

static void headers_free(void **index)
{
    struct headers *headers = *index;
    *index = NULL;
    assertf(headers->buckets.size == 0, "%zu buckets left", headers->buckets.size);
    assert(list_empty(&headers->always));
    map_free(&headers->buckets);
    mem_free(headers->message.headers);
    mem_free(headers->message.slots);
    mem_free(headers);
}

/* Reads x-match, `all` when there is none. */
static bool parse_mode(struct slice args, bool *any, bool *with_x, struct fault *f)
{
    struct field field;
    struct slice mode;
    *any = *with_x = false;
    if (!table_find(args, "x-match", &field))
        return true;
    int64_t number;
    if (field_integer(&field, &number))
        return fault(f, PRECONDITION_FAILED, "Invalid x-match field type %s (value %lld); expected longstr",
                     field_type_name(field.type), (long long)number);
    if (!field_string(&field, &mode))
        return fault(f, PRECONDITION_FAILED, "Invalid x-match field type %s%s; expected longstr",
                     field_type_name(field.type), field.type == 'V' ? " (value undefined)" : "");
    *any = slice_is(mode, "any") || slice_is(mode, "any-with-x");
    *with_x = slice_is(mode, "all-with-x") || slice_is(mode, "any-with-x");
    if (*any || *with_x || slice_is(mode, "all"))
        return true;
    bool shown = slice_is_utf8(mode) && mode.len <= 64;
    return fault(f, PRECONDITION_FAILED,
                 "Invalid x-match field value <<\"%.*s\">>; expected all, any, all-with-x, or any-with-x",
                 shown ? (int)mode.len : 3, shown ? (const char *)mode.at : "...");
}

static bool headers_check(const void *index, struct slice key, struct slice args, struct fault *f)
{
    bool any, with_x;
    (void)index, (void)key;
    return parse_mode(args, &any, &with_x, f);
}

static struct bucket *find_bucket(const struct headers *headers, uint64_t digest)
{
    return map_get(&headers->buckets, slice_of(&digest, sizeof(digest)));
}

static void hang(struct headers *headers, struct rule *rule, uint64_t digest)
{
    struct bucket *bucket = find_bucket(headers, digest);
    if (!bucket) {
        bucket = mem_alloc(sizeof(*bucket));
        *bucket = (struct bucket){.digest = digest};
        list_init(&bucket->entries);
        map_put(&headers->buckets, slice_of(&bucket->digest, sizeof(bucket->digest)), bucket);
    }
    struct entry *entry = &rule->entries[rule->entry_count++];
    *entry = (struct entry){.bucket = bucket, .rule = rule};
    list_push_back(&bucket->entries, &entry->link);
    bucket->size++;
}

static void unhang(struct headers *headers, struct entry *entry)
{
    struct bucket *bucket = entry->bucket;
    list_remove(&entry->link);
    assert(bucket->size > 0);
    if (--bucket->size > 0)
        return;
    map_remove(&headers->buckets, slice_of(&bucket->digest, sizeof(bucket->digest)));
    mem_free(bucket);
}

/* Digest of the pair that fewest bindings hang on; a value rather than a presence among equals. */
static uint64_t rarest_pair(const struct headers *headers, const struct rule *rule)
{
    struct pairs pairs = pairs_of(rule);
    uint64_t best = 0;
    size_t best_weight = SIZE_MAX;
    while (next_pair(&pairs, headers->seed)) {
        uint64_t digest = pair_digest(&pairs, headers->seed);
        const struct bucket *bucket = find_bucket(headers, digest);
        size_t weight = (bucket ? bucket->size * 2 : 0) + (pairs.value.type == 'V');
        if (weight < best_weight)
            best = digest, best_weight = weight;
    }
    assert(best_weight < SIZE_MAX);
    return best;
}

static void headers_add(void *index, struct binding *binding)
{
    struct headers *headers = index;
    struct rule head = {.binding = binding};
    struct fault unused;
    bool good = parse_mode(binding->args, &head.any, &head.with_x, &unused);
    assert(good);
    size_t pair_count = 0;
    struct pairs pairs = pairs_of(&head);
    while (next_pair(&pairs, headers->seed))
        pair_count++;
    size_t entries = head.any || pair_count == 0 ? pair_count : 1;
    struct rule *rule = mem_alloc(sizeof(*rule) + entries * sizeof(rule->entries[0]));
    *rule = head;
    binding->index_node = rule;
    if (pair_count == 0) {
        if (!rule->any)
            list_push_back(&headers->always, &binding->in_index);
    } else if (rule->any) {
        pairs = pairs_of(rule);
        while (next_pair(&pairs, headers->seed))
            hang(headers, rule, pair_digest(&pairs, headers->seed));
    } else {
        hang(headers, rule, rarest_pair(headers, rule));
    }
    assert(rule->entry_count == entries);
}

static void headers_remove(void *index, struct binding *binding)
{
    struct headers *headers = index;
    struct rule *rule = binding->index_node;
    assert(rule && rule->binding == binding);
    for (size_t i = 0; i < rule->entry_count; i++)
        unhang(headers, &rule->entries[i]);
    list_unlink(&binding->in_index);
    binding->index_node = NULL;
    mem_free(rule);
}

/* The slot of that name, or the free one where it would go. */
static uint32_t *find_slot(const struct header_table *table, struct slice name, uint64_t name_hash)
{
    size_t mask = table->slot_count - 1;
    for (size_t i = name_hash & mask;; i = (i + 1) & mask) {
        uint32_t number = table->slots[i];
        if (number == 0)
            return &table->slots[i];
        const struct header *header = &table->headers[number - 1];
        if (header->name_hash == name_hash && slice_equal(header->name, name))
            return &table->slots[i];
    }
}

/* Gives the table free slots for twice as many headers as `fields` can hold. */
static void clear_table(struct header_table *table, struct slice fields)
{
    struct slice name;
    struct field field;
    size_t count = 0;
    for (struct slice rest = fields; table_next(&rest, &name, &field);)
        count++;
    assert(count < UINT32_MAX / 4);
    table->size = 0;
    table->slot_count = 8;
    while (table->slot_count < count * 2)
        table->slot_count *= 2;
    if (table->capacity < count) {
        table->capacity = table->slot_count;
        table->headers = mem_realloc(table->headers, table->capacity * sizeof(*table->headers));
    }
    if (table->slot_capacity < table->slot_count) {
        table->slot_capacity = table->slot_count;
        table->slots = mem_realloc(table->slots, table->slot_capacity * sizeof(*table->slots));
    }
    memset(table->slots, 0, table->slot_count * sizeof(*table->slots));
}

static void fill_table(struct header_table *table, struct slice fields, uint64_t seed)
{
    clear_table(table, fields);
    struct header header;
    while (table_next(&fields, &header.name, &header.field)) {
        header.name_hash = slice_hash(header.name, seed);
        uint32_t *slot = find_slot(table, header.name, header.name_hash);
        if (*slot)
            continue;
        table->headers[table->size++] = header;
        *slot = (uint32_t)table->size;
    }
}

static bool meets(const struct header_table *message, const struct pairs *pair)
{
    uint32_t number = *find_slot(message, pair->name, pair->name_hash);
    if (number == 0)
        return false;
    return pair->value.type == 'V' || field_equal(&pair->value, &message->headers[number - 1].field);
}

static bool satisfied(const struct headers *headers, const struct rule *rule)
{
    struct pairs pairs = pairs_of(rule);
    while (next_pair(&pairs, headers->seed))
        if (meets(&headers->message, &pairs) == rule->any)
            return rule->any;
    return !rule->any;
}

/* Weighs the bindings that hang on this pair. */
static void weigh(const struct headers *headers, uint64_t digest, struct route_set *set)
{
    const struct bucket *bucket = find_bucket(headers, digest);
    if (!bucket)
        return;
    list_each(node, &bucket->entries) {
        struct rule *rule = container_of(node, struct entry, link)->rule;
        if (rule->stamp == headers->stamp)
            continue;
        rule->stamp = headers->stamp;
        set->looks += 1 + rule->binding->args.len / PAIR_OCTETS;
        if (satisfied(headers, rule))
            route_add(set, rule->binding->dest);
    }
}

static void headers_match(void *index, const struct route_input *input, struct slice key,
                          struct route_set *set)
{
    (void)key;
    struct headers *headers = index;
    headers->stamp++;
    list_each(node, &headers->always)
        route_add(set, container_of(node, struct binding, in_index)->dest);
    if (headers->buckets.size == 0)
        return;
    fill_table(&headers->message, input->headers, headers->seed);
    for (size_t i = 0; i < headers->message.size; i++) {
        const struct header *header = &headers->message.headers[i];
        uint64_t value = digest_field(&header->field, headers->seed);
        weigh(headers, digest_pair(header->name_hash, value), set);
        weigh(headers, digest_pair(header->name_hash, PRESENT), set);
    }
}

const struct exchange_type headers_type = {
    .name = "headers",
    .cacheable = false,
    .keyless = true,
    .index_new = headers_new,
    .index_free = headers_free,
    .check = headers_check,
    .add = headers_add,
    .remove = headers_remove,
    .match = headers_match,
};
