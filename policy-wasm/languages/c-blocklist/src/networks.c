/* Refuses clients of the listed networks at the connection. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"

/* An address, IPv4 or IPv6, in network order. */
typedef struct {
  uint8_t bytes[16];
  size_t bits; /* 32 or 128 */
} address_t;

typedef struct {
  address_t address;
  size_t prefix;
  text_t written;
} network_t;

static network_t *refused;
static size_t refused_count;

static bool address_parse(const char *words, address_t *address) {
  address->bits = strchr(words, ':') ? 128 : 32;
  return inet_pton(address->bits == 128 ? AF_INET6 : AF_INET, words, address->bytes) == 1;
}

/* True if all bits after the prefix are zero. */
static bool host_part_is_empty(const network_t *network) {
  for (size_t bit = network->prefix; bit < network->address.bits; bit++) {
    if (network->address.bytes[bit / 8] >> (7 - bit % 8) & 1) return false;
  }
  return true;
}

/* Parses `192.0.2.0/24`, `2001:db8::/32`, or an address alone. Returns the problem, or NULL. */
static const char *network_parse(text_t written, network_t *network) {
  char words[64];
  if (written.len >= sizeof words || memchr(written.ptr, '\0', written.len) != NULL) return "expected a network";
  memcpy(words, written.ptr, written.len);
  words[written.len] = '\0';
  char *slash = strchr(words, '/');
  if (slash != NULL) *slash = '\0';
  if (!address_parse(words, &network->address)) return "expected a network, such as 192.0.2.0/24";
  network->prefix = network->address.bits;
  if (slash != NULL) {
    char *end;
    unsigned long prefix = strtoul(slash + 1, &end, 10);
    bool is_number = slash[1] >= '0' && slash[1] <= '9' && *end == '\0';
    if (!is_number || prefix > network->address.bits) return "the length of the prefix is none";
    network->prefix = prefix;
  }
  if (!host_part_is_empty(network)) return "there are bits set behind the prefix";
  network->written = written;
  return NULL;
}

static bool network_has(const network_t *network, const address_t *address) {
  if (network->address.bits != address->bits) return false;
  for (size_t bit = 0; bit < network->prefix; bit++) {
    if ((network->address.bytes[bit / 8] ^ address->bytes[bit / 8]) >> (7 - bit % 8) & 1) return false;
  }
  return true;
}

static bool configure(text_t key, json_t *value, problems_t *problems) {
  if (!text_is(key, "networks")) return false;
  texts_t list;
  texts_read(&list, "networks", value, problems);
  refused = allocate(list.count * sizeof *refused);
  refused_count = 0;
  for (size_t at = 0; at < list.count; at++) {
    const char *wrong = network_parse(list.items[at], &refused[refused_count]);
    if (wrong == NULL) {
      refused_count++;
    } else {
      problem(problems, key_of("networks", at), text_of(wrong));
    }
  }
  return true;
}

static const rule_t rules[] = {{"network", "clients of these networks are sent away"}};
const role_t networks = {rules, sizeof rules / sizeof *rules, configure};

static const network_t *refused_network(text_t client) {
  char words[64];
  address_t address;
  if (client.len >= sizeof words) return NULL;
  memcpy(words, client.ptr, client.len);
  words[client.len] = '\0';
  if (!address_parse(words, &address)) die("the host gave an address that is none");
  for (size_t i = 0; i < refused_count; i++) {
    if (network_has(&refused[i], &address)) return &refused[i];
  }
  return NULL;
}

void exports_posthouse_policy_exemption_admit(client_t *client,
                                              exports_posthouse_policy_exemption_tuple2_admission_because_t *answer) {
  const network_t *network = refused_network(client->address);
  if (network != NULL) {
    answer->f0.tag = EXPORTS_POSTHOUSE_POLICY_EXEMPTION_ADMISSION_REFUSE;
    answer->f0.val.refuse = reply(554, 7, 1, "No mail from this network");
    answer->f1 = because("network", &network->written);
  } else {
    answer->f0.tag = EXPORTS_POSTHOUSE_POLICY_EXEMPTION_ADMISSION_PASS;
    answer->f1 = because("network", NULL);
  }
  done_with_client(client);
}
