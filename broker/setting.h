/* setting.h - private to the configuration: one key being set, and the kinds of value that are about the
 * network (setting.c); the others are in config.c. */
#ifndef BROKER_SETTING_H
#define BROKER_SETTING_H

#include "broker/key.h"

struct setting {
    struct config *config;
    const struct key *key;
    char name[KEY_NAME_MAX + 1]; /* of a family's member */
    const char *written, *value; /* the key as it was written */
    const char *where;
    char *error;
    size_t error_size;
};

/* Writes the sentence, with file, line and key in front; returns false. A secret's value is not shown. */
bool setting_refuse(const struct setting *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Keeps "name=value" in the family's text, in the place of an item of the same name. */
bool setting_item(const struct setting *s);
bool setting_listener(const struct setting *s);
bool setting_version(const struct setting *s);
bool setting_cipher(const struct setting *s);
bool setting_source(const struct setting *s);
bool setting_sni(const struct setting *s);
bool setting_fixed(const struct setting *s);
bool setting_limit(const struct setting *s);
/* setting_auth.c */
bool setting_mechanism(const struct setting *s);
bool setting_backend(const struct setting *s);
bool setting_algorithm(const struct setting *s);
bool setting_url(const struct setting *s);
/* Sets the key's field by the setter of its kind (config.c). */
bool config_apply(const struct setting *s);
/* setting_oauth2.c */
bool setting_nested(const struct setting *s);
bool setting_alias(const struct setting *s);
/* setting_vhost.c */
bool setting_default_limits(const struct setting *s);
/* The i-th key of an entry of default_limits.vhosts that is there in struct config; false after the last. */
bool setting_default_limits_key(size_t i, size_t entry, struct key *key);
/* Notes that a key was given for which nothing is a value, too. */
void setting_note_given(const struct setting *s);
/* What only all keys of OAuth 2 together can tell; false and one sentence. */
bool setting_check_oauth2(const struct config *config, const struct config_chain *chain, char *error,
                          size_t error_size);
/* The same of TLS to the services that backends ask. */
bool setting_check_http(const struct config *config, char *error, size_t error_size);
/* Reads the line in the file that a value "file:PATH" names. */
bool setting_read_secret(const struct setting *s, char *text, size_t size);

/* What only all keys of the network together can tell; false and one sentence. */
bool setting_check(const struct config *config, char *error, size_t error_size);

#endif
