// npm's sparkplug-payload as decoder: one payload in base64 a line in, what it says as JSON a line out.
"use strict";

const readline = require("node:readline");
const zlib = require("node:zlib");
const { decodePayload } = require("sparkplug-payload").get("spBv1.0");

/** What JSON cannot say otherwise. */
function plain(key, value) {
  if (value && value.type === "Buffer") return Buffer.from(value.data).toString("base64");
  if (value && typeof value === "object" && "low" in value && "high" in value && "unsigned" in value) {
    return Number((BigInt(value.high) << 32n) + BigInt(value.low >>> 0));
  }
  if (value && ArrayBuffer.isView(value)) return Buffer.from(value).toString("base64");
  return value;
}

/** The envelope of a compressed payload, as Eclipse Tahu makes it. */
function open(bytes) {
  const payload = decodePayload(bytes);
  if (payload.uuid !== "SPBV1.0_COMPRESSED") return { compressed: null, ...payload };
  const algorithm = payload.metrics.find((metric) => metric.name === "algorithm").value;
  const inflate = { GZIP: zlib.gunzipSync, DEFLATE: zlib.inflateSync }[algorithm];
  return { ...decodePayload(inflate(payload.body)), compressed: algorithm };
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = open(Buffer.from(line, "base64"));
    } catch (error) {
      answer = { error: String(error.stack || error) };
    }
    process.stdout.write(JSON.stringify(answer, plain) + "\n");
  }
}

main();
