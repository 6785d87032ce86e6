/** Pure: no clock, no I/O, no randomness. */
import { ipText } from "@starling/native/net";
import type { Answer, Packet, Question } from "dns-packet";

/** Where an answer's names and addresses come from. */
export interface Names {
  lookup(name: string): readonly string[] | undefined;
  reverse(address: string): string | undefined;
}

export const Rcode = { ok: 0, formatError: 1, serverFailure: 2, nameError: 3, notImplemented: 4, refused: 5 } as const;

const authoritative = 0x400;
const recursionAvailable = 0x80;
const recursionDesired = 0x100;
/** Seconds that clients may keep an answer: tasks come and go. */
const ttlSeconds = 1;

/**
 * Whether the bytes may be a query worth decoding: one question, no answers, few additional records. A header may claim
 * 65,535 of each, whose decoding would keep the process busy.
 */
export function isPlausibleQuery(message: Uint8Array): boolean {
  if (message.length < 12) return false;
  const u16 = (at: number) => message[at]! * 256 + message[at + 1]!;
  const isResponse = (message[2]! & 0x80) !== 0;
  return !isResponse && u16(4) === 1 && u16(6) === 0 && u16(8) === 0 && u16(10) <= 2;
}

/**
 * The answer to `query`, or `"forward"` when the name isn't the cluster's. A known name without addresses of the kind
 * asked (AAAA, MX, …) gives an empty answer, not an error, so that resolvers stop there. `rotation` turns the order of
 * addresses.
 */
export function answerQuery(query: Packet, names: Names, rotation: number): Packet | "forward" {
  if (query.type !== "query" || ((query.flags ?? 0) & 0x7800) !== 0) return refuse(query, Rcode.notImplemented);
  const [question] = query.questions ?? [];
  if (question === undefined || query.questions?.length !== 1) return refuse(query, Rcode.formatError);
  if (question.class !== undefined && question.class !== "IN") return "forward";
  if (question.type === "PTR") {
    const address = reverseAddress(question.name);
    const name = address === undefined ? undefined : names.reverse(address);
    return name === undefined
      ? "forward"
      : reply(query, [{ type: "PTR", name: question.name, ttl: ttlSeconds, data: name }]);
  }
  const addresses = names.lookup(question.name);
  if (addresses === undefined) return "forward";
  if (addresses.length === 0) return refuse(query, Rcode.nameError);
  const { type } = question;
  if (type !== "A" && type !== "AAAA") return reply(query, []);
  const asked = addresses.filter((address) => address.includes(":") === (type === "AAAA"));
  return reply(query, rotated({ ...question, type }, asked, rotation));
}

function rotated(
  question: Question & { readonly type: "A" | "AAAA" },
  addresses: readonly string[],
  rotation: number,
): Answer[] {
  return addresses.map((_, position) => ({
    type: question.type,
    name: question.name,
    ttl: ttlSeconds,
    data: addresses[(position + rotation) % addresses.length]!,
  }));
}

const replyFlags = (query: Packet): number => ((query.flags ?? 0) & recursionDesired) | recursionAvailable;

function reply(query: Packet, answers: Answer[]): Packet {
  const questions = query.questions ?? [];
  return { type: "response", id: query.id ?? 0, flags: replyFlags(query) | authoritative, questions, answers };
}

/** An answer that says only why there is none. */
export function refuse(query: Packet, rcode: number): Packet {
  return { type: "response", id: query.id ?? 0, flags: replyFlags(query) | rcode, questions: query.questions ?? [] };
}

/** Largest answer over UDP that the asker takes, in bytes: 512, or what its EDNS record says. */
export function udpLimit(query: Packet): number {
  for (const extra of query.additionals ?? []) {
    if (extra.type === "OPT")
      return Math.min(4096, Math.max(512, (extra as { udpPayloadSize?: number }).udpPayloadSize ?? 512));
  }
  return 512;
}

export const truncatedFlag = 0x200;

/** `5.0.0.10.in-addr.arpa` → `10.0.0.5`; the 32 nibbles of `ip6.arpa` likewise. */
function reverseAddress(name: string): string | undefined {
  const four = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa\.?$/i.exec(name);
  if (four !== null) return four.slice(1).reverse().join(".");
  const six = /^((?:[0-9a-f]\.){32})ip6\.arpa\.?$/i.exec(name);
  if (six === null) return undefined;
  const digits = six[1]!.replaceAll(".", "").split("").reverse().join("");
  return ipText(Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16)));
}
