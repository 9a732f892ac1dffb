/* setting_vhost.c - what a vhost gets when it is made: default_limits.vhosts.ID.*, as in RabbitMQ. */
#include <string.h>

#include "base/mem.h"
#include "broker/setting.h"

/* The words behind the ID, as keys of their own; `entry` is where in struct config. */
bool setting_default_limits_key(size_t i, size_t entry, struct key *key)
{
    static const struct {
        const char *word;
        enum key_kind kind;
        size_t at, size;
        uint64_t min, max;
    } words[] = {
        {"pattern", KEY_REGEX, offsetof(struct config_default_limits, pattern), CONFIG_TEXT_MAX, 1, 255},
        {"max_connections", KEY_NUMBER, offsetof(struct config_default_limits, connections),
         sizeof(uint64_t), 1, UINT32_MAX},
        {"max_queues", KEY_NUMBER, offsetof(struct config_default_limits, queues), sizeof(uint64_t), 1,
         UINT32_MAX},
    };
    if (i == array_size(words))
        return false;
    *key = (struct key){.name = words[i].word,
                        .kind = words[i].kind,
                        .offset = entry + words[i].at,
                        .size = words[i].size,
                        .defaults = "",
                        .min = words[i].min,
                        .max = words[i].max};
    return true;
}

/* In the order in which the IDs came: the first that fits a vhost counts. */
static size_t find_entry(struct config_topology *topology, struct slice id)
{
    size_t i = 0;
    while (i < topology->default_limit_count && !slice_is(id, topology->default_limits[i].id))
        i++;
    if (i == topology->default_limit_count && i < CONFIG_DEFAULTS_MAX) {
        struct config_default_limits *new = &topology->default_limits[i];
        *new = (struct config_default_limits){
            .pattern = ".*", .connections = CONFIG_NONE, .queues = CONFIG_NONE};
        memcpy(new->id, id.at, id.len);
        topology->default_limit_count++;
    }
    return i;
}

bool setting_default_limits(const struct setting *s)
{
    const char *rest = s->written + key_prefix(s->key), *dot = strchr(rest, '.');
    struct setting one = *s;
    struct key key;
    size_t id_length = dot ? (size_t)(dot - rest) : 0, entry;
    if (id_length == 0 || id_length >= CONFIG_ID_MAX)
        return setting_refuse(s, "expected a key like %.*sID.max_queues, the ID of at most %d bytes",
                              (int)key_prefix(s->key), s->key->name, CONFIG_ID_MAX - 1);
    for (size_t i = 0; setting_default_limits_key(i, 0, &key); i++) {
        if (strcmp(key.name, dot + 1) != 0)
            continue;
        entry = find_entry(&s->config->topology, slice_of(rest, id_length));
        if (entry == CONFIG_DEFAULTS_MAX)
            return setting_refuse(s, "there can be %d of them", CONFIG_DEFAULTS_MAX);
        setting_default_limits_key(i, s->key->offset + entry * sizeof(struct config_default_limits), &key);
        one.key = &key;
        return config_apply(&one);
    }
    return setting_refuse(s, "expected pattern, max_connections or max_queues behind the ID");
}
