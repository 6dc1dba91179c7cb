/* Reads JSON. The host gives a policy nothing but good JSON as its settings, so that only the types
 * in it are in question; of bad JSON this reads something, and never beyond its end. */
#ifndef JSON_H
#define JSON_H

#include "module.h"

typedef module_string_t text_t;

typedef struct {
  const uint8_t *at, *end;
} json_t;

typedef enum { JSON_OBJECT, JSON_LIST, JSON_TEXT, JSON_TRUTH, JSON_OTHER } json_kind_t;

/* What comes next. */
json_kind_t json_kind(json_t *in);
/* Goes into an object or a list. */
void json_enter(json_t *in);
/* Whether there is a further member or item; goes to it, or out at the end. */
bool json_more(json_t *in);
/* The key of a member, copied; its value comes next. */
text_t json_key(json_t *in);
/* Text, copied. */
text_t json_text(json_t *in);
bool json_truth(json_t *in);
/* Skips a value of any kind. */
void json_skip(json_t *in);

#endif
