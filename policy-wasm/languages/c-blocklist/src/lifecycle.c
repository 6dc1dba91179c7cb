/* Name, version and settings of the policy, the same for every role. */
#include "policy.h"

#include <string.h>

typedef exports_posthouse_policy_lifecycle_rule_t described_rule_t;

void exports_posthouse_policy_lifecycle_describe(exports_posthouse_policy_lifecycle_description_t *description) {
  size_t count = 0;
  for (size_t i = 0; i < role_count; i++) count += roles[i]->rule_count;
  described_rule_t *rules = allocate(count * sizeof *rules), *rule = rules;
  for (size_t i = 0; i < role_count; i++) {
    for (size_t j = 0; j < roles[i]->rule_count; j++) {
      *rule++ = (described_rule_t){text_of(roles[i]->rules[j].name), text_of(roles[i]->rules[j].summary)};
    }
  }
  description->name = text_of("blocklist");
  description->version = text_of("0.1.0");
  description->rules.ptr = rules;
  description->rules.len = count;
}

static bool configure(text_t key, json_t *value, problems_t *problems) {
  for (size_t i = 0; i < role_count; i++) {
    if (roles[i]->configure(key, value, problems)) return true;
  }
  return false;
}

bool exports_posthouse_policy_lifecycle_configure(text_t *settings, problems_t *problems) {
  *problems = (problems_t){NULL, 0};
  json_t in = {settings->ptr, settings->ptr + settings->len};
  json_enter(&in);
  while (json_more(&in)) {
    text_t key = json_key(&in);
    if (configure(key, &in, problems)) {
      module_string_free(&key);
    } else {
      problem(problems, key, text_of("there is no such setting"));
      json_skip(&in);
    }
  }
  module_string_free(settings);
  return problems->len == 0;
}

void problem(problems_t *problems, text_t key, text_t words) {
  problems->ptr = reallocate(problems->ptr, (problems->len + 1) * sizeof *problems->ptr);
  problems->ptr[problems->len++] = (exports_posthouse_policy_lifecycle_problem_t){key, words};
}

text_t key_of(const char *key, size_t at) {
  char number[24], *digit = number + sizeof number;
  *--digit = ']';
  do *--digit = (char)('0' + at % 10);
  while ((at /= 10) > 0);
  *--digit = '[';
  size_t before = strlen(key), after = (size_t)(number + sizeof number - digit);
  uint8_t *both = allocate(before + after);
  memcpy(both, key, before);
  memcpy(both + before, digit, after);
  return (text_t){both, before + after};
}

void texts_read(texts_t *list, const char *key, json_t *value, problems_t *problems) {
  *list = (texts_t){NULL, 0};
  if (json_kind(value) != JSON_LIST) {
    problem(problems, text_of(key), text_of("expected a list of text"));
    json_skip(value);
    return;
  }
  json_enter(value);
  for (size_t at = 0; json_more(value); at++) {
    if (json_kind(value) != JSON_TEXT) {
      problem(problems, key_of(key, at), text_of("expected text"));
      json_skip(value);
      continue;
    }
    list->items = reallocate(list->items, (list->count + 1) * sizeof *list->items);
    list->items[list->count++] = json_text(value);
  }
}

bool truth_read(const char *key, json_t *value, problems_t *problems) {
  if (json_kind(value) == JSON_TRUTH) return json_truth(value);
  problem(problems, text_of(key), text_of("expected true or false"));
  json_skip(value);
  return false;
}
