/* show.c - rows to people and programs: a table, JSON or CSV.
 *
 * A table has tabs between its columns, as rabbitmqctl's, so that programs can take it apart; on a terminal
 * the columns are aligned instead. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tools/ctl/ctl.h"

/* Bytes of the character that the text begins with when it is not to be seen as it is, else 0: a control (to
 * a terminal U+009B is what ESC [ is), an end of a line, what turns the direction of writing. */
static size_t control_at(const unsigned char *text, size_t len, unsigned *code)
{
    size_t size = 0;
    *code = text[0];
    if (text[0] < 0x20 || text[0] == 0x7f) {
        size = 1;
    } else if (text[0] == 0xc2 && len > 1) {
        *code = text[1];
        size = *code >= 0x80 && *code < 0xa0 ? 2 : 0;
    } else if (text[0] == 0xe2 && len > 2) {
        *code = 0x2000 | (text[1] & 0x3fu) << 6 | (text[2] & 0x3fu);
        size = (*code >= 0x2028 && *code <= 0x202e) || (*code >= 0x2066 && *code <= 0x2069) ? 3 : 0;
    }
    return size;
}

/* As \x1b in a text, as \u001b in JSON and what is more than a byte. */
static void put_escaped(struct buf *out, const char *text, size_t len, bool json)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned code;
    for (size_t i = 0, size; i < len; i += size ? size : 1) {
        size = control_at(at + i, len - i, &code);
        if (size)
            buf_printf(out, size == 1 && !json ? "\\x%02x" : "\\u%04x", code);
        else
            buf_append(out, at + i, 1);
    }
}

/* A tab or newline in a name must not make another cell, and nothing in it is for the terminal. */
static void put_text(struct buf *out, const char *text, size_t len)
{
    put_escaped(out, text, len, false);
}

/* JSON has such characters in strings only. */
static void put_json(struct buf *out, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text)
        put_escaped(out, text, strlen(text), true);
    free(text);
}

/* [a, b] for lists of texts, as rabbitmqctl has it; else compact JSON. */
static void put_list(struct buf *out, const json_t *list)
{
    buf_printf(out, "[");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i > 0)
            buf_printf(out, ", ");
        ctl_cell(out, json_array_get(list, i));
    }
    buf_printf(out, "]");
}

void ctl_cell(struct buf *out, const json_t *value)
{
    if (json_is_string(value)) {
        put_text(out, json_string_value(value), json_string_length(value));
    } else if (json_is_array(value)) {
        put_list(out, value);
    } else if (!json_is_null(value)) {
        put_json(out, value);
    }
}

void ctl_table_begin(struct ctl_table *table, const struct ctl_options *options)
{
    *table = (struct ctl_table){.options = options, .out = stdout};
    table->aligned =
        options->format == FORMAT_PRETTY || (options->format == FORMAT_TABLE && isatty(fileno(table->out)));
    if (table->aligned)
        table->rows = json_array();
    if (options->format == FORMAT_JSON)
        fputs("[", table->out);
}

static void print_csv(const struct ctl_table *table, const char *text, size_t len, bool first)
{
    fputs(first ? "\"" : ",\"", table->out);
    for (size_t i = 0; i < len; i++)
        fputs(text[i] == '"' ? "\"\"" : (char[2]){text[i], 0}, table->out);
    fputc('"', table->out);
}

static void print_cell(const struct ctl_table *table, const char *text, size_t len, bool first)
{
    if (table->options->format == FORMAT_CSV) {
        print_csv(table, text, len, first);
        return;
    }
    if (!first)
        fputc('\t', table->out);
    if (len)
        fwrite(text, 1, len, table->out);
}

static void print_names(const struct ctl_table *table, const json_t *row)
{
    const char *name;
    json_t *value;
    bool first = true;
    json_object_foreach((json_t *)(uintptr_t)row, name, value)
    {
        print_cell(table, name, strlen(name), first);
        first = false;
    }
    fputc('\n', table->out);
}

static void print_values(const struct ctl_table *table, const json_t *row)
{
    const char *name;
    json_t *value;
    struct buf cell = {0};
    bool first = true;
    json_object_foreach((json_t *)(uintptr_t)row, name, value)
    {
        cell.len = 0;
        ctl_cell(&cell, value);
        bool bare = table->options->format == FORMAT_CSV && !json_is_string(value) &&
                    !json_is_array(value) && !json_is_object(value);
        if (bare)
            fprintf(table->out, "%s%.*s", first ? "" : ",", SLICE_ARG(buf_slice(&cell)));
        else
            print_cell(table, (const char *)cell.at, cell.len, first);
        first = false;
    }
    fputc('\n', table->out);
    buf_free(&cell);
}

void ctl_table_row(void *arg, const json_t *row)
{
    struct ctl_table *table = arg;
    bool first = table->count++ == 0;
    if (table->aligned) {
        json_array_append(table->rows, (json_t *)(uintptr_t)row);
        return;
    }
    if (table->options->format == FORMAT_JSON) {
        fputs(first ? "\n" : ",\n", table->out);
        struct buf text = {0};
        put_json(&text, row);
        fwrite(text.at, 1, text.len, table->out);
        buf_free(&text);
        return;
    }
    if (first && !table->options->no_headers)
        print_names(table, row);
    print_values(table, row);
}

/* Columns on a screen: not the bytes that continue a character. */
static size_t width_of(struct slice text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.len; i++)
        width += (text.at[i] & 0xc0) != 0x80;
    return width;
}

static void print_padded(const struct ctl_table *table, struct slice text, size_t width, bool right,
                         bool last)
{
    size_t have = width_of(text);
    int pad = (int)(width > have ? width - have : 0);
    if (right)
        fprintf(table->out, "%*s", pad, "");
    fwrite(text.at, 1, text.len, table->out);
    if (!right && !last)
        fprintf(table->out, "%*s", pad, "");
    fputs(last ? "\n" : "  ", table->out);
}

/* One line of names or values; `row` NULL = a rule below the names. */
static void print_line(const struct ctl_table *table, const json_t *row, const size_t *widths, int kind)
{
    const char *name;
    json_t *value;
    struct buf cell = {0};
    size_t i = 0, count = json_object_size(row);
    json_object_foreach((json_t *)(uintptr_t)row, name, value)
    {
        cell.len = 0;
        if (kind == 0)
            buf_printf(&cell, "%s", name);
        else if (kind == 1)
            for (size_t j = 0; j < widths[i]; j++)
                buf_printf(&cell, "-");
        else
            ctl_cell(&cell, value);
        print_padded(table, buf_slice(&cell), widths[i], kind == 2 && json_is_number(value),
                     i + 1 == count);
        i++;
    }
    buf_free(&cell);
}

static void print_aligned(const struct ctl_table *table)
{
    const json_t *first = json_array_get(table->rows, 0);
    const char *name;
    json_t *value;
    struct buf cell = {0};
    size_t columns = 1; /* of the row that has most: the server gives all the same */
    for (size_t row = 0; row < json_array_size(table->rows); row++) {
        size_t count = json_object_size(json_array_get(table->rows, row));
        columns = count > columns ? count : columns;
    }
    size_t *widths = mem_zalloc(columns * sizeof(size_t));
    for (size_t row = 0; row < json_array_size(table->rows); row++) {
        size_t i = 0;
        json_object_foreach(json_array_get(table->rows, row), name, value)
        {
            cell.len = 0;
            ctl_cell(&cell, value);
            size_t width = width_of(buf_slice(&cell)), title = strlen(name);
            widths[i] = width > widths[i] ? width : widths[i];
            if (!table->options->no_headers && title > widths[i])
                widths[i] = title;
            i++;
        }
    }
    buf_free(&cell);
    if (first && !table->options->no_headers) {
        print_line(table, first, widths, 0);
        print_line(table, first, widths, 1);
    }
    for (size_t row = 0; row < json_array_size(table->rows); row++)
        print_line(table, json_array_get(table->rows, row), widths, 2);
    mem_free(widths);
}

void ctl_table_end(struct ctl_table *table)
{
    if (table->aligned) {
        print_aligned(table);
        json_decref(table->rows);
    }
    if (table->options->format == FORMAT_JSON)
        fputs(table->count ? "\n]\n" : "]\n", table->out);
    fflush(table->out);
}
