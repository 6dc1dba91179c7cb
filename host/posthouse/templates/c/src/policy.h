/* What every part of the policy uses: short names, text, and the settings. */
#ifndef POLICY_H
#define POLICY_H

#include "json.h"
#include "module.h"

typedef posthouse_policy_types_because_t because_t;
typedef posthouse_policy_types_client_t client_t;
typedef posthouse_policy_types_envelope_t envelope_t;
typedef posthouse_policy_types_failure_t failure_t;
typedef posthouse_policy_types_reply_t reply_t;
typedef posthouse_policy_types_reverse_path_t reverse_path_t;

/* Gives up: the mail is deferred, and Event 4037 has the words. */
_Noreturn void die(const char *words);
/* Memory, or death; never NULL. */
void *allocate(size_t size);
/* As it, for a block that grows. */
void *reallocate(void *block, size_t size);

/* Text of the policy's own. What is given to the host must be such a copy: it frees what it gets. */
text_t text_of(const char *words);
text_t text_copy(text_t text);
/* Whether two texts are the same; the case of ASCII letters does not matter in the second form. */
bool text_is(text_t text, const char *words);
bool text_same(text_t a, text_t b);
bool text_alike(text_t a, text_t b);

reply_t reply(uint16_t code, uint16_t subject, uint16_t detail, const char *words);
/* Why; `entry` may be NULL, and is copied. */
because_t because(const char *rule, const text_t *entry);

/* Arguments are the policy's to give back, with what was lent in them. */
void done_with_client(client_t *client);
void done_with_envelope(envelope_t *envelope);
void done_with_failure(failure_t *failure);

/* What is wrong with the settings. */
typedef exports_posthouse_policy_lifecycle_list_problem_t problems_t;
/* Takes both texts. */
void problem(problems_t *problems, text_t key, text_t words);
/* `key[at]` */
text_t key_of(const char *key, size_t at);

/* A list of text in the settings. */
typedef struct {
  text_t *items;
  size_t count;
} texts_t;
void texts_read(texts_t *list, const char *key, json_t *value, problems_t *problems);
bool truth_read(const char *key, json_t *value, problems_t *problems);

/* A part of the policy that decides something. */
typedef struct {
  const char *name, *summary;
} rule_t;
typedef struct {
  const rule_t *rules;
  size_t rule_count;
  /* Reads the value of a setting; false, with nothing read, if it is not this role's. */
  bool (*configure)(text_t key, json_t *value, problems_t *problems);
} role_t;

/* The policy's parts; in roles.c. */
extern const role_t *const roles[];
extern const size_t role_count;

#endif
