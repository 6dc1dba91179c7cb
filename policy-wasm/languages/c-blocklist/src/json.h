/* A JSON reader. The host passes only valid JSON as settings, so only the types need checks. Invalid JSON
 * gives arbitrary values, but nothing beyond its end is read. */
#ifndef JSON_H
#define JSON_H

#include "module.h"

typedef module_string_t text_t;

typedef struct {
  const uint8_t *at, *end;
} json_t;

typedef enum { JSON_OBJECT, JSON_LIST, JSON_TEXT, JSON_TRUTH, JSON_OTHER } json_kind_t;

/* The kind of the next value. */
json_kind_t json_kind(json_t *in);
/* Enters an object or a list. */
void json_enter(json_t *in);
/* True if there is a further member or item, and moves to it; at the end, leaves the object or list. */
bool json_more(json_t *in);
/* The key of a member, copied; the value is next. */
text_t json_key(json_t *in);
/* A text value, copied. */
text_t json_text(json_t *in);
bool json_truth(json_t *in);
/* Skips a value of any kind. */
void json_skip(json_t *in);

#endif
