/* Listed recipients and domains accept mail only from authenticated clients. */
#include <string.h>

#include "policy.h"

static texts_t refused;

static bool configure(text_t key, json_t *value, problems_t *problems) {
  if (!text_is(key, "recipients")) return false;
  texts_read(&refused, "recipients", value, problems);
  for (size_t at = 0; at < refused.count; at++) {
    if (memchr(refused.items[at].ptr, '@', refused.items[at].len) == NULL) {
      problem(problems, key_of("recipients", at), text_of("expected an address, or @domain"));
    }
  }
  return true;
}

static const rule_t rules[] = {
    {"recipient", "these recipients get no mail from outside"},
    {"inside", "who authenticated may write to everybody"},
};
const role_t recipients = {rules, sizeof rules / sizeof *rules, configure};

/* Returns `@domain` of an address. A quoted local part may contain an @. */
static text_t domain_of(text_t address) {
  size_t at = address.len;
  while (at > 0 && address.ptr[at - 1] != '@') at--;
  return at == 0 ? (text_t){NULL, 0} : (text_t){address.ptr + at - 1, address.len - at + 1};
}

static const text_t *refused_entry(text_t address) {
  text_t domain = domain_of(address);
  for (size_t i = 0; i < refused.count; i++) {
    if (text_alike(refused.items[i], address) || text_alike(refused.items[i], domain)) return &refused.items[i];
  }
  return NULL;
}

typedef exports_posthouse_policy_homing_decision_t decision_t;

static void pass(decision_t *decision, const char *rule) {
  decision->verdict.tag = POSTHOUSE_POLICY_TYPES_VERDICT_PASS;
  decision->because = because(rule, NULL);
}

void exports_posthouse_policy_homing_check_sender(client_t *client, reverse_path_t *sender, decision_t *decision) {
  pass(decision, "recipient");
  done_with_client(client);
  posthouse_policy_types_reverse_path_free(sender);
}

void exports_posthouse_policy_homing_check_recipient(client_t *client, reverse_path_t *sender, text_t *recipient,
                                                     decision_t *decision) {
  const text_t *entry = refused_entry(*recipient);
  /* Check `is_some` first: an absent identity reads as zeros and does not trap. */
  if (client->identity.is_some) {
    pass(decision, "inside");
  } else if (entry == NULL) {
    pass(decision, "recipient");
  } else {
    decision->verdict.tag = POSTHOUSE_POLICY_TYPES_VERDICT_REJECT;
    decision->verdict.val.reject = reply(550, 7, 1, "This recipient gets no mail from outside");
    decision->because = because("recipient", entry);
  }
  done_with_client(client);
  posthouse_policy_types_reverse_path_free(sender);
  module_string_free(recipient);
}

void exports_posthouse_policy_homing_check_message(
    client_t *client, envelope_t *envelope, exports_posthouse_policy_homing_borrow_message_t message,
    exports_posthouse_policy_homing_tuple2_disposition_because_t *answer) {
  answer->f0.tag = EXPORTS_POSTHOUSE_POLICY_HOMING_DISPOSITION_PASS;
  answer->f1 = because("recipient", NULL);
  done_with_client(client);
  done_with_envelope(envelope);
  /* Borrowed handles must be dropped before the function returns; a handle left over is a fault. */
  posthouse_policy_message_message_drop_borrow(message);
}
