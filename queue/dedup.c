/* dedup.c - what was taken before, by 128-bit hashes of names.
 *
 * Each kind has a table of its own and a list by age: the oldest note goes when there are too many or it is
 * too old. A producer's note becomes the youngest with each message, so the producer that was silent longest
 * is forgotten first. Notes in the journal are in the home's list too, by the batch that has them; so the
 * oldest batch that is still needed is that of the list's first.
 *
 * A note's lowest bits are its kind, so that what comes back from the store finds its table. */
#include "queue/dedup.h"

#include <stdlib.h>

#include "base/assert.h"
#include "protocol/table.h"

enum { KIND_BITS = 2, RENEW_MAX = 65536, HEADER_CACHE_DEFAULT = 10000 };

static_assert(DEDUP_KINDS <= 1 << KIND_BITS, "a kind fits its bits");

struct dedup_note {
    uint64_t key[2]; /* the map's key */
    uint64_t value;
    uint64_t batch;              /* that has it; 0 = none, it is not journalled */
    struct list by_age;          /* in its table */
    struct list journalled;      /* in home.journalled when batch > 0 */
    struct dedup *owner;
    struct store_note_run run;
};

struct table {
    struct map notes;
    struct list by_age; /* the oldest first */
    size_t max;
    uint64_t age_ms;
};

struct dedup {
    struct dedup_home *home;
    uint64_t owner_id;
    enum dedup_keeping keeping;
    struct table tables[DEDUP_KINDS];
};

void dedup_home_init(struct dedup_home *home)
{
    *home = (struct dedup_home){0};
    list_init(&home->journalled);
}

struct dedup *dedup_new(struct dedup_home *home, uint64_t owner_id, const struct dedup_limits *limits)
{
    struct dedup *dedup = mem_zalloc(sizeof(*dedup));
    /* A note's key is a hash without a secret: whoever chooses names can know it. Nothing walks the maps. */
    uint64_t seed = slice_hash(slice_of(&dedup, sizeof(dedup)), (uintptr_t)limits ^ owner_id);
    dedup->home = home;
    dedup->owner_id = owner_id;
    home->users++;
    for (int kind = 0; kind < DEDUP_KINDS; kind++) {
        struct table *table = &dedup->tables[kind];
        assertf(limits->max[kind] <= DEDUP_MAX, "%u notes", limits->max[kind]);
        map_init(&table->notes, seed);
        list_init(&table->by_age);
        table->max = limits->max[kind];
        table->age_ms = limits->age_ms[kind];
    }
    return dedup;
}

/* The argument's value, checked before; `none` without it. */
static uint64_t read_number(struct slice args, const char *name, uint64_t none)
{
    struct field field;
    int64_t value;
    if (!table_find(args, name, &field) || !field_integer_or_text(&field, &value))
        return none;
    assertf(value >= 0, "%s of %lld passed the check of the declaration", name, (long long)value);
    return (uint64_t)value;
}

static uint32_t read_max(struct slice args, const char *name, uint64_t none)
{
    uint64_t max = read_number(args, name, none);
    return max < DEDUP_MAX ? (uint32_t)max : DEDUP_MAX;
}

static enum dedup_keeping read_keeping(struct slice args)
{
    struct field field;
    struct slice keeping;
    if (!table_find(args, "x-cache-persistence", &field) || !field_string(&field, &keeping))
        return DEDUP_KEEP_WITH_MESSAGE;
    return slice_is(keeping, "disk") ? DEDUP_KEEP_ALL : DEDUP_KEEP_NONE;
}

struct dedup *dedup_of_args(struct dedup_home *home, uint64_t owner_id, struct slice args, bool by_header)
{
    struct dedup_limits limits = {0};
    struct dedup *dedup = NULL;
    struct field field;
    bool flag;
    limits.max[DEDUP_PRODUCER] = read_max(args, "x-dedup-producers", 0);
    limits.max[DEDUP_MESSAGE_ID] = read_max(args, "x-dedup-window", 0);
    limits.age_ms[DEDUP_MESSAGE_ID] = read_number(args, "x-dedup-window-age", 0);
    if (by_header ||
        (table_find(args, "x-message-deduplication", &field) && field_bool(&field, &flag) && flag)) {
        limits.max[DEDUP_HEADER] = read_max(args, "x-cache-size", HEADER_CACHE_DEFAULT);
        limits.age_ms[DEDUP_HEADER] = read_number(args, "x-cache-ttl", 0);
    }
    for (int kind = 0; kind < DEDUP_KINDS && !dedup; kind++)
        if (limits.max[kind])
            dedup = dedup_new(home, owner_id, &limits);
    if (dedup)
        dedup->keeping = read_keeping(args);
    return dedup;
}

void dedup_set_owner(struct dedup *dedup, uint64_t owner_id)
{
    for (int kind = 0; kind < DEDUP_KINDS; kind++)
        assert(dedup->tables[kind].notes.size == 0);
    dedup->owner_id = owner_id;
}

enum dedup_keeping dedup_keeping(const struct dedup *dedup)
{
    return dedup->keeping;
}

static enum dedup_kind kind_of(const uint64_t key[2])
{
    enum dedup_kind kind = key[1] & ((1 << KIND_BITS) - 1);
    assert(kind < DEDUP_KINDS);
    return kind;
}

static struct slice key_slice(const uint64_t key[2])
{
    return slice_of(key, 2 * sizeof(key[0]));
}

static void forget(struct dedup_note *note)
{
    struct dedup *dedup = note->owner;
    void *removed = map_remove(&dedup->tables[kind_of(note->key)].notes, key_slice(note->key));
    assert(removed == note && dedup->home->count > 0);
    list_remove(&note->by_age);
    list_unlink(&note->journalled);
    dedup->home->count--;
    mem_free(note);
}

static struct dedup_note *oldest(const struct table *table)
{
    return list_empty(&table->by_age) ? NULL : list_first(&table->by_age, struct dedup_note, by_age);
}

void dedup_free(struct dedup **freed)
{
    struct dedup *dedup = *freed;
    *freed = NULL;
    for (int kind = 0; kind < DEDUP_KINDS; kind++) {
        struct table *table = &dedup->tables[kind];
        for (struct dedup_note *note; (note = oldest(table));)
            forget(note);
        map_free(&table->notes);
    }
    assert(dedup->home->users > 0);
    dedup->home->users--;
    mem_free(dedup);
}

void dedup_identify(struct dedup_ids *ids, enum dedup_kind kind, struct slice name, uint64_t value)
{
    uint64_t *key = ids->of[kind].key;
    slice_digest(name, key);
    key[1] = (key[1] & ~(uint64_t)((1 << KIND_BITS) - 1)) | kind;
    ids->of[kind].present = true;
    ids->of[kind].value = value;
}

static bool is_expired(const struct table *table, const struct dedup_note *note, uint64_t now_ms)
{
    if (note->value & DEDUP_EXPIRES)
        return now_ms >= (note->value & ~DEDUP_EXPIRES);
    return table->age_ms && now_ms >= table->age_ms && note->value <= now_ms - table->age_ms;
}

bool dedup_knows(const struct dedup *dedup, const struct dedup_ids *ids, uint64_t *batch)
{
    for (int kind = 0; kind < DEDUP_KINDS; kind++) {
        const struct table *table = &dedup->tables[kind];
        if (!ids->of[kind].present || table->max == 0)
            continue;
        const struct dedup_note *note = map_get(&table->notes, key_slice(ids->of[kind].key));
        if (!note || (kind == DEDUP_PRODUCER ? ids->of[kind].value > note->value
                                             : is_expired(table, note, ids->now_ms)))
            continue;
        *batch = note->batch > *batch ? note->batch : *batch;
        return true;
    }
    return false;
}

/* The note of that key, which is the youngest from now on. */
static struct dedup_note *touch(struct dedup *dedup, const uint64_t key[2])
{
    struct table *table = &dedup->tables[kind_of(key)];
    struct dedup_note *note = map_get(&table->notes, key_slice(key));
    if (note) {
        list_remove(&note->by_age);
    } else {
        note = mem_zalloc(sizeof(*note));
        note->key[0] = key[0], note->key[1] = key[1];
        note->owner = dedup;
        map_put(&table->notes, key_slice(note->key), note);
        dedup->home->count++;
    }
    list_push_back(&table->by_age, &note->by_age);
    return note;
}

static void write_note(struct dedup_note *note, struct store *store)
{
    struct stored_note stored = {note->owner->owner_id, {note->key[0], note->key[1]}, note->value};
    uint64_t batch = store_note(store, &note->run, &stored);
    assert(batch >= note->batch);
    note->batch = batch;
    list_unlink(&note->journalled);
    list_push_back(&note->owner->home->journalled, &note->journalled);
}

/* At most `max` notes, and two that are too old at a time: each call adds one at most. */
static void trim(struct dedup *dedup, enum dedup_kind kind, uint64_t now_ms)
{
    struct table *table = &dedup->tables[kind];
    while (table->notes.size > table->max || (dedup->home->count > DEDUP_MAX && table->notes.size > 1))
        forget(oldest(table));
    for (int i = 0; i < 2 && kind != DEDUP_PRODUCER && oldest(table); i++)
        if (is_expired(table, oldest(table), now_ms))
            forget(oldest(table));
}

void dedup_take(struct dedup *dedup, const struct dedup_ids *ids, struct store *store)
{
    for (int kind = 0; kind < DEDUP_KINDS; kind++) {
        if (!ids->of[kind].present || dedup->tables[kind].max == 0)
            continue;
        struct dedup_note *note = touch(dedup, ids->of[kind].key);
        note->value = ids->of[kind].value;
        if (store)
            write_note(note, store);
        trim(dedup, kind, ids->now_ms);
    }
}

void dedup_restore(struct dedup *dedup, const struct stored_note *stored, uint64_t batch)
{
    assert(batch > 0);
    if ((stored->key[1] & ((1 << KIND_BITS) - 1)) >= DEDUP_KINDS ||
        dedup->tables[kind_of(stored->key)].max == 0)
        return;
    struct dedup_note *note = touch(dedup, stored->key);
    if (kind_of(stored->key) != DEDUP_PRODUCER || note->value < stored->value)
        note->value = stored->value; /* they come in the order in which they were written */
    note->batch = batch;
    list_unlink(&note->journalled);
    list_push_back(&dedup->home->journalled, &note->journalled);
}

static int compare_values(const void *a, const void *b)
{
    const struct dedup_note *const *left = a, *const *right = b;
    return (*left)->value < (*right)->value ? -1 : (*left)->value > (*right)->value;
}

/* Notes that were written again come late: those with a time are put in its order. */
static void sort_by_value(struct table *table)
{
    size_t count = 0;
    struct dedup_note **notes = mem_alloc((table->notes.size + 1) * sizeof(struct dedup_note *));
    for (struct list *node; (node = list_pop_front(&table->by_age));)
        notes[count++] = container_of(node, struct dedup_note, by_age);
    assert(count == table->notes.size);
    qsort(notes, count, sizeof(struct dedup_note *), compare_values);
    for (size_t i = 0; i < count; i++)
        list_push_back(&table->by_age, &notes[i]->by_age);
    mem_free(notes);
}

void dedup_restored(struct dedup *dedup)
{
    for (int kind = 0; kind < DEDUP_KINDS; kind++) {
        struct table *table = &dedup->tables[kind];
        if (kind != DEDUP_PRODUCER)
            sort_by_value(table);
        while (table->notes.size > table->max)
            forget(oldest(table));
    }
}

void dedup_renew(struct dedup_home *home, struct store *store)
{
    uint64_t limit = home->count ? store_stale_notes(store, home->count) : 0;
    for (int i = 0; i < RENEW_MAX && limit && !list_empty(&home->journalled); i++) {
        struct dedup_note *note = list_first(&home->journalled, struct dedup_note, journalled);
        if (note->batch > limit)
            break;
        write_note(note, store);
    }
    bool none = list_empty(&home->journalled);
    store_keep_notes(store, none ? UINT64_MAX
                                 : list_first(&home->journalled, struct dedup_note, journalled)->batch);
}

size_t dedup_count(const struct dedup *dedup, enum dedup_kind kind)
{
    return dedup->tables[kind].notes.size;
}
