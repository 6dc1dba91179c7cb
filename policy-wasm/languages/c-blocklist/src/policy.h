/* Declarations for every part of the policy: short names, text, and settings. */
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

/* Ends the policy with a fault: the mail is deferred, and Event 4037 has the words. */
_Noreturn void die(const char *words);
/* Allocates memory; never returns NULL. Dies if there is no memory left. */
void *allocate(size_t size);
/* Resizes a block; never returns NULL. */
void *reallocate(void *block, size_t size);

/* A copy of a text. Values for the host must be copies, since the host frees them. */
text_t text_of(const char *words);
text_t text_copy(text_t text);
/* True if two texts are the same; `text_alike` ignores the case of ASCII letters. */
bool text_is(text_t text, const char *words);
bool text_same(text_t a, text_t b);
bool text_alike(text_t a, text_t b);

reply_t reply(uint16_t code, uint16_t subject, uint16_t detail, const char *words);
/* The reason of a decision; `entry` is copied and may be NULL. */
because_t because(const char *rule, const text_t *entry);

/* Free an argument and drop its borrowed handles. */
void done_with_client(client_t *client);
void done_with_envelope(envelope_t *envelope);
void done_with_failure(failure_t *failure);

/* Problems of the settings. */
typedef exports_posthouse_policy_lifecycle_list_problem_t problems_t;
/* Adds a problem; takes ownership of both texts. */
void problem(problems_t *problems, text_t key, text_t words);
/* The text `key[at]`. */
text_t key_of(const char *key, size_t at);

/* A list of text in the settings. */
typedef struct {
  text_t *items;
  size_t count;
} texts_t;
void texts_read(texts_t *list, const char *key, json_t *value, problems_t *problems);
bool truth_read(const char *key, json_t *value, problems_t *problems);

/* A rule of a role, and a role of the policy. */
typedef struct {
  const char *name, *summary;
} rule_t;
typedef struct {
  const rule_t *rules;
  size_t rule_count;
  /* Reads the value of a setting. Returns false and reads nothing if the key belongs to another role. */
  bool (*configure)(text_t key, json_t *value, problems_t *problems);
} role_t;

/* The roles of the policy, defined in roles.c. */
extern const role_t *const roles[];
extern const size_t role_count;

#endif
