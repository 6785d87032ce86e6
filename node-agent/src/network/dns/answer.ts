/** Pure: no clock, no I/O, no randomness. */
import { ipText } from "@starling/native/net";
import type { Answer, OptAnswer, Packet, Question } from "dns-packet";

/** Where an answer's names and addresses come from. */
export interface Names {
  lookup(name: string): readonly string[] | undefined;
  reverse(address: string): string | undefined;
}

export const Rcode = { ok: 0, formatError: 1, serverFailure: 2, nameError: 3, notImplemented: 4, refused: 5 } as const;

const authoritative = 0x400;
const recursionAvailable = 0x80;
const recursionDesired = 0x100;
/** The largest message over UDP, in bytes. */
const udpSizeMax = 4096;
/** Upper bits of the code BADVERS (RFC 6891 §9). */
const badVersion = 1;
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
  if ((extendedRecord(query)?.ednsVersion ?? 0) > 0)
    return { ...headOf(query), flags: replyFlags(query), additionals: extended(query, badVersion) };
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
  const flags = replyFlags(query) | authoritative;
  return { ...headOf(query), flags, answers, additionals: extended(query) };
}

const headOf = (query: Packet): Packet => ({ type: "response", id: query.id ?? 0, questions: query.questions ?? [] });

const extendedRecord = (query: Packet): OptAnswer | undefined =>
  query.additionals?.find((record): record is OptAnswer => record.type === "OPT");

/** Who asks with an EDNS record gets one (RFC 6891 §6.1.1): of version 0, with how much we take over UDP. */
function extended(query: Packet, extendedRcode = 0): OptAnswer[] {
  if (extendedRecord(query) === undefined) return [];
  const versions = { extendedRcode, ednsVersion: 0 };
  return [{ type: "OPT", name: ".", udpPayloadSize: udpSizeMax, flags: 0, flag_do: false, options: [], ...versions }];
}

/** An answer that says only why there is none. */
export function refuse(query: Packet, rcode: number): Packet {
  return { ...headOf(query), flags: replyFlags(query) | rcode, additionals: extended(query) };
}

/** Largest answer over UDP that the asker takes, in bytes: 512, or what its EDNS record says. */
export function udpLimit(query: Packet): number {
  return Math.min(udpSizeMax, Math.max(512, extendedRecord(query)?.udpPayloadSize ?? 512));
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
