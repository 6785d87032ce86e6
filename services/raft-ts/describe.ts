/** Pure: no clock, no I/O, no randomness. */
import { asV2, confChangeOf, describeConfChanges } from "./confchange/conf-change.ts";
import { describeConfState } from "./describe-conf.ts";
import { entryTypeName, hex, messageTypeName, stateTypeName } from "./message-kinds.ts";
import { quote } from "./quote.ts";
import {
  type Entry,
  EntryType,
  type HardState,
  isEmptyHardState,
  isEmptySnapshot,
  LocalAppendThread,
  LocalApplyThread,
  type Message,
  None,
  type Ready,
  type Snapshot,
  type SoftState,
} from "./types.ts";

// Text for people and golden files, in the format of etcd's raft.

/** Shows a normal entry's payload. */
export type EntryFormatter = (data: Uint8Array) => string;

/** `Term:1 Vote:1 Commit:3`, Vote left out when 0. */
export function describeHardState({ term, vote, commit }: HardState): string {
  return `Term:${term}${vote === None ? "" : ` Vote:${vote}`} Commit:${commit}`;
}

export function describeSoftState({ lead, raftState }: SoftState): string {
  return `Lead:${lead} State:${stateTypeName(raftState)}`;
}

export function describeSnapshot({ metadata }: Snapshot): string {
  return `Index:${metadata.index} Term:${metadata.term} ConfState:${describeConfState(metadata.confState)}`;
}

/** `TERM/INDEX TYPE payload`. */
export function describeEntry(entry: Entry, format: EntryFormatter = quote): string {
  const payload = describePayload(entry, format);
  return `${entry.term}/${entry.index} ${entryTypeName(entry.type)}${payload === "" ? "" : ` ${payload}`}`;
}

function describePayload(entry: Entry, format: EntryFormatter): string {
  if (entry.type === EntryType.EntryNormal) return format(entry.data);
  try {
    const change = confChangeOf(entry);
    return change === undefined ? "" : describeConfChanges(asV2(change).changes);
  } catch (err) {
    // A payload that cannot be decoded is shown as such.
    return err instanceof Error ? err.message : String(err);
  }
}

/** One line an entry. */
export function describeEntries(entries: readonly Entry[], format?: EntryFormatter): string {
  return entries.map((entry) => `${describeEntry(entry, format)}\n`).join("");
}

function describeTarget(id: bigint): string {
  if (id === None) return "None";
  if (id === LocalAppendThread) return "AppendThread";
  if (id === LocalApplyThread) return "ApplyThread";
  return hex(id);
}

/** One line, and more if there are several entries, a snapshot or responses; no newline at the end. */
export function describeMessage(m: Message, format?: EntryFormatter, indent = ""): string {
  let out = `${indent}${describeTarget(m.from)}->${describeTarget(m.to)} ${messageTypeName(m.type)} Term:${m.term} Log:${m.logTerm}/${m.index}`;
  if (m.reject) out += ` Rejected (Hint: ${m.rejectHint})`;
  if (m.commit !== 0) out += ` Commit:${m.commit}`;
  if (m.vote !== None) out += ` Vote:${m.vote}`;
  if (m.entries.length === 1) {
    out += ` Entries:[${describeEntry(m.entries[0]!, format)}]`;
  } else if (m.entries.length > 1) {
    const lines = m.entries.map((entry) => `\n${indent}  ${describeEntry(entry, format)}`);
    out += ` Entries:[${lines.join("")}\n${indent}]`;
  }
  if (m.snapshot !== undefined && !isEmptySnapshot(m.snapshot)) {
    out += `\n${indent}  Snapshot: ${describeSnapshot(m.snapshot)}`;
  }
  if (m.responses !== undefined && m.responses.length > 0) {
    const lines = m.responses.map((response) => `\n${describeMessage(response, format, `${indent}  `)}`);
    out += ` Responses:[${lines.join("")}\n${indent}]`;
  }
  return out;
}

/** All that a Ready holds, one section after the other; `<empty Ready>` without a newline if it holds nothing. */
export function describeReady(rd: Ready, format?: EntryFormatter): string {
  let out = "";
  if (rd.softState !== undefined) out += `${describeSoftState(rd.softState)}\n`;
  if (rd.hardState !== undefined && !isEmptyHardState(rd.hardState)) {
    out += `HardState ${describeHardState(rd.hardState)}\n`;
  }
  if (rd.readStates.length > 0) {
    const states = rd.readStates.map(({ index, requestCtx }) => `{${index} [${requestCtx.join(" ")}]}`);
    out += `ReadStates [${states.join(" ")}]\n`;
  }
  if (rd.entries.length > 0) out += `Entries:\n${describeEntries(rd.entries, format)}`;
  if (rd.snapshot !== undefined && !isEmptySnapshot(rd.snapshot)) out += `Snapshot ${describeSnapshot(rd.snapshot)}\n`;
  if (rd.committedEntries.length > 0) out += `CommittedEntries:\n${describeEntries(rd.committedEntries, format)}`;
  if (rd.messages.length > 0) {
    out += `Messages:\n${rd.messages.map((m) => `${describeMessage(m, format)}\n`).join("")}`;
  }
  return out === "" ? "<empty Ready>" : `Ready MustSync=${rd.mustSync}:\n${out}`;
}
