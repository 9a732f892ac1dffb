/* sasl.c - the SASL mechanisms that are bytes only. AMQPLAIN is a field table and is read where
 * those are. */
#include "auth/users.h"

/* Takes "\0text" off the front; the text ends before the next zero byte or at the end. */
static bool take_text(struct slice *rest, struct slice *text)
{
    if (rest->len == 0 || rest->at[0] != 0)
        return false;
    const uint8_t *from = rest->at + 1;
    size_t left = rest->len - 1;
    const uint8_t *end = left ? memchr(from, 0, left) : NULL;
    *text = slice_of(from, end ? (size_t)(end - from) : left);
    *rest = slice_of(from + text->len, left - text->len);
    return true;
}

bool sasl_plain(struct slice response, struct slice *name, struct slice *password)
{
    return take_text(&response, name) && take_text(&response, password) && response.len == 0;
}
