/* SPDX-License-Identifier: GPL-3.0-or-later */
/* glob.c - tensor globs, character by character of UTF-8. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/lab/recipe.h"

/* Next code point; a stray byte counts as one character of its own, so that any text advances and
 * never runs past its terminator. */
static uint32_t next_character(const char **text)
{
    const unsigned char *p = (const unsigned char *)*text;
    uint32_t c = *p++;
    int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
    uint32_t value = more ? c & (0x3fU >> more) : c;
    for (int i = 0; i < more; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            *text = (const char *)p;
            return c;
        }
        value = value << 6 | (p[i] & 0x3fU);
    }
    *text = (const char *)(p + more);
    return value;
}

/* Match c against the set that begins after '['. Returns the text after the closing ']', or NULL
 * when nothing closes it. */
static const char *match_set(const char *set, uint32_t c, bool *matched)
{
    bool negated = *set == '!' || *set == '^';
    set += negated;
    bool hit = false;
    for (bool first = true; *set && (first || *set != ']'); first = false) {
        uint32_t lowest = next_character(&set), highest = lowest;
        if (*set == '-' && set[1] != '\0' && set[1] != ']') {
            set++;
            highest = next_character(&set);
        }
        hit |= lowest <= c && c <= highest;
    }
    *matched = hit != negated;
    return *set == ']' ? set + 1 : NULL;
}

/* One step: when the first item of *glob (not a '*') takes the first character of *name, advance
 * both. */
static bool take(const char **glob, const char **name)
{
    const char *g = *glob, *n = *name;
    if (*g == '\0' || *n == '\0') {
        return false;
    }
    uint32_t wanted = next_character(&g), c = next_character(&n);
    bool matched = wanted == '?' || wanted == c;
    if (wanted == '[') {
        bool in_set = false;
        const char *after = match_set(g, c, &in_set);
        if (after) {
            matched = in_set;
            g = after;
        }
    }
    if (matched) {
        *glob = g;
        *name = n;
    }
    return matched;
}

/* Only the last '*' ever needs another try: whatever an earlier one could have taken, the part
 * between the two has already matched at its first place. */
bool quant_glob_match(const char *glob, const char *name)
{
    const char *after_star = NULL, *resume = NULL;
    while (*name) {
        if (*glob == '*') {
            after_star = ++glob;
            resume = name;
        } else if (!take(&glob, &name)) {
            if (!after_star) {
                return false;
            }
            next_character(&resume);
            glob = after_star;
            name = resume;
        }
    }
    while (*glob == '*') {
        glob++;
    }
    return *glob == '\0';
}
