#include "policy.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void die(const char *words) {
  /* A write error is ignored: the policy ends in any case. */
  if (write(STDERR_FILENO, words, strlen(words)) > 0) (void)write(STDERR_FILENO, "\n", 1);
  abort();
}

void *allocate(size_t size) { return reallocate(NULL, size); }

void *reallocate(void *block, size_t size) {
  /* realloc to size 0 may return NULL without a failure. */
  void *grown = realloc(block, size == 0 ? 1 : size);
  if (grown == NULL) die("no memory left");
  return grown;
}

text_t text_of(const char *words) { return text_copy((text_t){(uint8_t *)words, strlen(words)}); }

text_t text_copy(text_t text) {
  /* The bindings free only texts with a length above 0. */
  if (text.len == 0) return (text_t){NULL, 0};
  uint8_t *bytes = allocate(text.len);
  memcpy(bytes, text.ptr, text.len);
  return (text_t){bytes, text.len};
}

bool text_is(text_t text, const char *words) { return text_same(text, (text_t){(uint8_t *)words, strlen(words)}); }

bool text_same(text_t a, text_t b) { return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0); }

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c; }

bool text_alike(text_t a, text_t b) {
  if (a.len != b.len) return false;
  for (size_t i = 0; i < a.len; i++) {
    if (lower(a.ptr[i]) != lower(b.ptr[i])) return false;
  }
  return true;
}

reply_t reply(uint16_t code, uint16_t subject, uint16_t detail, const char *words) {
  return (reply_t){.code = code, .status = {(uint8_t)(code / 100), subject, detail}, .text = text_of(words)};
}

because_t because(const char *rule, const text_t *entry) {
  because_t because = {.rule = text_of(rule), .entry = {.is_some = entry != NULL}};
  if (entry != NULL) because.entry.val = text_copy(*entry);
  return because;
}

void done_with_client(client_t *client) {
  if (client->more.is_some) posthouse_policy_types_more_client_drop_borrow(client->more.val);
  posthouse_policy_types_client_free(client);
}

void done_with_envelope(envelope_t *envelope) {
  if (envelope->more.is_some) posthouse_policy_types_more_envelope_drop_borrow(envelope->more.val);
  posthouse_policy_types_envelope_free(envelope);
}

void done_with_failure(failure_t *failure) {
  if (failure->more.is_some) posthouse_policy_types_more_failure_drop_borrow(failure->more.val);
  if (failure->envelope.more.is_some) posthouse_policy_types_more_envelope_drop_borrow(failure->envelope.more.val);
  posthouse_policy_types_failure_free(failure);
}
