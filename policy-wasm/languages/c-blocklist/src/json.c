#include "json.h"

#include "policy.h"

static int peek(json_t *in) {
  while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\r' || *in->at == '\n')) in->at++;
  return in->at < in->end ? *in->at : -1;
}

static int next(json_t *in) { return in->at < in->end ? *in->at++ : -1; }

json_kind_t json_kind(json_t *in) {
  switch (peek(in)) {
    case '{': return JSON_OBJECT;
    case '[': return JSON_LIST;
    case '"': return JSON_TEXT;
    case 't':
    case 'f': return JSON_TRUTH;
    default: return JSON_OTHER;
  }
}

void json_enter(json_t *in) {
  peek(in);
  next(in);
}

bool json_more(json_t *in) {
  int c = peek(in);
  if (c == ',') {
    next(in);
    return peek(in) != -1;
  }
  if (c == '}' || c == ']') next(in);
  return c != -1 && c != '}' && c != ']';
}

static uint32_t hex4(json_t *in) {
  uint32_t value = 0;
  for (int i = 0; i < 4; i++) {
    int c = next(in);
    value = value * 16 + (uint32_t)(c >= 'a' ? c - 'a' + 10 : c >= 'A' ? c - 'A' + 10 : c - '0') % 16;
  }
  return value;
}

static uint8_t *utf8(uint8_t *out, uint32_t c) {
  if (c < 0x80) {
    *out++ = (uint8_t)c;
  } else if (c < 0x800) {
    *out++ = (uint8_t)(0xC0 | c >> 6);
    *out++ = (uint8_t)(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    *out++ = (uint8_t)(0xE0 | c >> 12);
    *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    *out++ = (uint8_t)(0x80 | (c & 0x3F));
  } else {
    *out++ = (uint8_t)(0xF0 | c >> 18);
    *out++ = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    *out++ = (uint8_t)(0x80 | (c & 0x3F));
  }
  return out;
}

/* The character of an escape, after the backslash. A pair of surrogates is one character. */
static uint32_t escaped(json_t *in) {
  int c = next(in);
  switch (c) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'u': break;
    default: return c < 0 ? 0xFFFD : (uint32_t)c;
  }
  uint32_t unit = hex4(in);
  if (unit < 0xD800 || unit > 0xDFFF) return unit;
  if (unit > 0xDBFF || in->end - in->at < 6 || in->at[0] != '\\' || in->at[1] != 'u') return 0xFFFD;
  in->at += 2;
  uint32_t low = hex4(in);
  return low < 0xDC00 || low > 0xDFFF ? 0xFFFD : 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
}

text_t json_text(json_t *in) {
  peek(in);
  next(in);
  /* No character is longer than its escape: an escape of six bytes gives at most three bytes. */
  uint8_t *start = allocate((size_t)(in->end - in->at) + 4), *out = start;
  for (int c; (c = next(in)) != -1 && c != '"';) {
    if (c == '\\') {
      out = utf8(out, escaped(in));
    } else {
      *out++ = (uint8_t)c;
    }
  }
  size_t length = (size_t)(out - start);
  return (text_t){reallocate(start, length), length};
}

text_t json_key(json_t *in) {
  text_t key = json_text(in);
  peek(in);
  next(in); /* the colon */
  return key;
}

bool json_truth(json_t *in) {
  bool truth = peek(in) == 't';
  json_skip(in);
  return truth;
}

void json_skip(json_t *in) {
  size_t depth = 0;
  do {
    int c = peek(in);
    if (c == '"') {
      text_t text = json_text(in);
      module_string_free(&text);
    } else if (c == '{' || c == '[') {
      depth++;
      next(in);
    } else if (c == '}' || c == ']') {
      if (depth == 0) return;
      depth--;
      next(in);
    } else if (c == ',' || c == ':') {
      if (depth == 0) return;
      next(in);
    } else {
      /* A number or a word. */
      while (in->at < in->end && *in->at != ',' && *in->at != '}' && *in->at != ']') in->at++;
    }
  } while (depth > 0 && in->at < in->end);
}
