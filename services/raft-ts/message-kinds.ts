/** Pure: no clock, no I/O, no randomness. */
import { RaftInvariantError } from "./errors.ts";
import { EntryType, MessageType, StateType } from "./types.ts";

function namesOf(numbers: Readonly<Record<string, number>>): readonly string[] {
  const names: string[] = [];
  for (const [name, number] of Object.entries(numbers)) names[number] = name;
  return names;
}

const messageTypes = namesOf(MessageType);
const entryTypes = namesOf(EntryType);
const stateTypes = namesOf(StateType);

export const messageTypeName = (type: MessageType): string => messageTypes[type] ?? String(type);
export const entryTypeName = (type: EntryType): string => entryTypes[type] ?? String(type);
export const stateTypeName = (state: StateType): string => stateTypes[state] ?? String(state);

const M = MessageType;
const local: ReadonlySet<MessageType> = new Set([
  M.MsgHup,
  M.MsgBeat,
  M.MsgUnreachable,
  M.MsgSnapStatus,
  M.MsgCheckQuorum,
  M.MsgStorageAppend,
  M.MsgStorageAppendResp,
  M.MsgStorageApply,
  M.MsgStorageApplyResp,
]);
const responses: ReadonlySet<MessageType> = new Set([
  M.MsgAppResp,
  M.MsgVoteResp,
  M.MsgHeartbeatResp,
  M.MsgUnreachable,
  M.MsgReadIndexResp,
  M.MsgPreVoteResp,
  M.MsgStorageAppendResp,
  M.MsgStorageApplyResp,
]);

/** Made and handled inside one node; must not come over the network. */
export const isLocalMessage = (type: MessageType): boolean => local.has(type);
/** An answer: of interest only if its sender is a member. */
export const isResponseMessage = (type: MessageType): boolean => responses.has(type);

export function voteResponseType(type: MessageType): MessageType {
  if (type === M.MsgVote) return M.MsgVoteResp;
  if (type === M.MsgPreVote) return M.MsgPreVoteResp;
  throw new RaftInvariantError(`not a vote message: ${messageTypeName(type)}`);
}

/** An id as logs show it: hexadecimal. */
export const hex = (id: bigint): string => id.toString(16);
