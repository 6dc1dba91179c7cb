// Authors of messages as mailparser reads them, with the addressparser of nodemailer.
//
// Reads a JSON list of messages in base64; prints a JSON list with an object for each message: reader to addresses.
"use strict";

const { simpleParser } = require("mailparser");

function flat(list) {
  return list.flatMap((entry) => (entry.group ? flat(entry.group) : [entry.address || entry.name]));
}

async function authors(encoded) {
  const mail = await simpleParser(Buffer.from(encoded, "base64"));
  for (const field of [mail.headers.get("sender"), mail.headers.get("from")]) {
    const found = [].concat(field || []).flatMap((one) => flat(one.value || []));
    if (found.length) return found;
  }
  return [];
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const answers = [];
  for (const encoded of JSON.parse(Buffer.concat(chunks).toString())) {
    answers.push({ node: await authors(encoded) });
  }
  process.stdout.write(JSON.stringify(answers));
}

main();
