/* Wrong in the way the recipient's local part says: for the host to survive. It takes the place of the
 * template's file of this name. */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

typedef exports_posthouse_policy_homing_decision_t decision_t;

static bool configure(text_t key, json_t *value, problems_t *problems) { return false; }

static const rule_t rules[] = {{"mischief", "does what the recipient says"}};
const role_t homing = {rules, sizeof rules / sizeof *rules, configure};

static void pass(decision_t *decision) {
  decision->verdict.tag = POSTHOUSE_POLICY_TYPES_VERDICT_PASS;
  decision->because = because("mischief", NULL);
}

static void reject(decision_t *decision, uint16_t code, const char *words) {
  decision->verdict.tag = POSTHOUSE_POLICY_TYPES_VERDICT_REJECT;
  decision->verdict.val.reject = reply(code, 7, 1, words);
  decision->because = because("mischief", NULL);
}

static void give_up(client_t *client, decision_t *decision) {
  if (!client->identity.is_some) die("the identity was taken for granted");
  pass(decision);
}

/* What C does when nobody asks whether there is an identity: it reads zeros, and goes on. */
static void assume(client_t *client, decision_t *decision) {
  pass(decision);
  decision->because.entry.is_some = true;
  decision->because.entry.val = text_copy(client->identity.val.account);
}

static void loop(client_t *client, decision_t *decision) {
  /* A loop without a side effect may be taken to end, and a signed number that overflows is a trap of its own. */
  for (volatile unsigned turns = 0;; turns++) {
  }
}

static void recurse(client_t *client, decision_t *decision) {
  volatile char frame[256];
  frame[0] = 1;
  recurse(client, decision);
  frame[255] = frame[0];
}

static void eat(client_t *client, decision_t *decision) {
  for (;;) {
    char *block = allocate(1 << 20);
    *(volatile char *)block = 1;
  }
}

static void nonsense(client_t *client, decision_t *decision) { reject(decision, 250, "OK"); }
static void forge(client_t *client, decision_t *decision) { reject(decision, 550, "No\r\n250 OK"); }
static void mistype(client_t *client, decision_t *decision) { reject(decision, 550, "\xff\xfe"); }

static const struct {
  const char *name;
  void (*act)(client_t *client, decision_t *decision);
} modes[] = {
    {"throw", give_up}, {"assume", assume},     {"loop", loop},   {"recurse", recurse}, {"allocate", eat},
    {"forge", forge},   {"nonsense", nonsense}, {"mistype", mistype},
};

void exports_posthouse_policy_homing_check_sender(client_t *client, reverse_path_t *sender, decision_t *decision) {
  pass(decision);
}

void exports_posthouse_policy_homing_check_recipient(client_t *client, reverse_path_t *sender, text_t *recipient,
                                                     decision_t *decision) {
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    size_t length = strlen(modes[i].name);
    if (recipient->len > length && recipient->ptr[length] == '@' && memcmp(recipient->ptr, modes[i].name, length) == 0) {
      modes[i].act(client, decision);
      return;
    }
  }
  pass(decision);
}

void exports_posthouse_policy_homing_check_message(
    client_t *client, envelope_t *envelope, exports_posthouse_policy_homing_borrow_message_t message,
    exports_posthouse_policy_homing_tuple2_disposition_because_t *answer) {
  answer->f0.tag = EXPORTS_POSTHOUSE_POLICY_HOMING_DISPOSITION_PASS;
  answer->f1 = because("mischief", NULL);
  posthouse_policy_message_message_drop_borrow(message);
}
