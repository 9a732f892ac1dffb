/* key.h - the table of configuration keys (broker/config.def) and how a written key is found in it.
 */
#ifndef BROKER_KEY_H
#define BROKER_KEY_H

#include "broker/config.h"

enum key_kind {
    KEY_NUMBER,
    KEY_SIZE,
    KEY_AMOUNT,   /* of memory or disk: other units; "none" is CONFIG_NONE */
    KEY_FRACTION, /* in millionths; "none" is CONFIG_NONE */
    KEY_FLAG,
    KEY_TEXT,
    KEY_SECRET, /* a text that is never shown */
    KEY_REGEX,
    KEY_QUEUE_TYPE,
    KEY_BACKEND, /* local_filesystem */
    KEY_LEVEL,
    KEY_LOG_FILE,
    KEY_FIXED,  /* has one value only */
    KEY_LIMIT,  /* a number or infinity, which is CONFIG_NONE */
    KEY_VERIFY, /* choices among words: key_choices */
    KEY_CRL_CHECK,
    KEY_HASHING,
    KEY_VALIDATION,
    KEY_CERT_NAME,
    KEY_SAN,
    KEY_HTTP_METHOD,
    KEY_CACHED,
    KEY_CACHED_PART,
    KEY_HOSTNAME,
    KEY_URL,
    KEY_NO_LISTENER, /* "none" empties the family of the same field */
    KEY_LIST_NONE,
    KEY_LISTENER, /* families: the key's last word is a name */
    KEY_LIST_FLAG,
    KEY_CHAIN,     /* as the next, but with a dot in the name */
    KEY_ALGORITHM, /* as the next */
    KEY_ITEM,
    KEY_MECHANISM, /* those kept as "1=value,2=value" */
    KEY_VERSION,
    KEY_CIPHER,
    KEY_SOURCE,
    KEY_SNI, /* of struct config_sni, all families of it in one field */
    KEY_SNI_SECRET,
    KEY_NESTED, /* NAME.KEY: setting_oauth2.c */
    KEY_ALIAS,
    KEY_DEFAULT_LIMITS, /* ID.KEY: setting_vhost.c */
    KEY_OVERWRITE, /* none, false or true */
};

struct key {
    const char *name;
    enum key_kind kind;
    size_t offset, size; /* of the field in struct config */
    const char *defaults;
    uint64_t min, max;
    const char *help;
};

/* Of a family's member ("default" of listeners.tcp.default). */
enum { KEY_NAME_MAX = 127 };

/* All keys in the order of config.def; i < key_count(). */
const struct key *key_at(size_t i);
size_t key_count(void);

/* The key, or the family it is a member of: then `name` (KEY_NAME_MAX + 1 bytes) becomes the
 * member's, in which a dot was written "\." as in rabbitmq.conf. NULL when there is none. */
const struct key *key_find(const char *written, char *name);
/* True when RabbitMQ has the key and Leveret has not. */
bool key_is_rabbitmqs(const char *written);
/* Why a key of RabbitMQ's would mean nothing here; NULL when it is none of those. */
const char *key_moot(const char *written);
/* Writes the known key nearest to the text, of all or of those with the same first word and a dot, and
 * returns how many letters it is away; UINT32_MAX, and nothing is written, when there is none. */
unsigned key_nearest(const char *written, bool same_family, char *nearest, size_t size);

bool key_is_family(const struct key *key);
/* A family kept as a text "name=value,…". */
bool key_has_items(const struct key *key);
/* The words that a key of this kind may be, NULL at the end; its field, an uint32_t, has the place of
 * one. NULL when the kind is no choice among words. */
const char *const *key_choices(enum key_kind kind);
/* Length of the part before a family's "*"; 0 for a key that is none. */
size_t key_prefix(const struct key *key);
/* The key "x.absolute" beside a key "x.relative". */
const struct key *key_absolute(const struct key *relative);
/* The key that empties this family with "none", NULL when it has none. */
const struct key *key_none(const struct key *family);
/* Where config_raw.given notes that the key was set. */
bool *key_given(struct config *config, const struct key *key);
/* The key's field. */
void *key_field(const struct config *config, const struct key *key);

#endif
